-- letters: jobs that were set aside because they ended their workers, and what they carried.
-- A letter is replaced when its job was a retry of it, and the oldest make room for new ones. What
-- all letters carry together has a limit, too: beyond it, the oldest carry nothing any more.
--@include job
local DEAD, LETTER = KEYS[1] .. 'dead', KEYS[1] .. 'letter:'
-- A payload that begins so is a handle of one in its gateway's memory; as in arena.py.
local HANDLE = 0
local LETTERS_MOST, LETTER_MS, LETTER_BYTES = 256, 7 * 86400000, 1048576
local LETTERS_BYTES = 16 * LETTER_BYTES

local function drop_letters(entries)
  for _, entry in ipairs(entries) do
    redis.call('UNLINK', LETTER .. entry[2][2])
    redis.call('XDEL', DEAD, entry[1])
  end
end

local function keep_payload(j)
  local letter, beside = LETTER .. j.id, beside_of(j)
  if j.payload and string.byte(j.payload) == HANDLE then
    -- Whoever had it alone has set beside it what it stands for.
    beside = JOB .. j.id .. BESIDE
  end
  if beside then
    local size = redis.call('STRLEN', beside)
    if size > 0 and size <= LETTER_BYTES then
      redis.call('RENAME', beside, letter)
      redis.call('PEXPIRE', letter, LETTER_MS)
    end
  elseif j.payload and #j.payload <= LETTER_BYTES then
    redis.call('SET', letter, j.payload, 'PX', LETTER_MS)
  end
end

local function limit_letters()
  local over, bytes = redis.call('XLEN', DEAD) - LETTERS_MOST, 0
  if over > 0 then
    drop_letters(redis.call('XRANGE', DEAD, '-', '+', 'COUNT', over))
  end
  for _, entry in ipairs(redis.call('XREVRANGE', DEAD, '+', '-')) do
    local letter = LETTER .. entry[2][2]
    bytes = bytes + redis.call('STRLEN', letter)
    if bytes > LETTERS_BYTES then
      redis.call('UNLINK', letter)
    end
  end
end

local read_letter = job_reader({}, 'payload', 'beside', 'rows', 'accepted_us', 'letter')

-- j: {id, queue, token, crashes}
local function set_aside(j)
  local carried = read_letter(j.id)
  keep_payload(carried)
  if carried.letter then
    drop_letters(redis.call('XRANGE', DEAD, carried.letter, carried.letter))
  end
  redis.call('XADD', DEAD, '*', 'id', j.id, 'queue', j.queue, 'worker', j.token, 'crashes', j.crashes,
    'rows', carried.rows, 'accepted_us', carried.accepted_us)
  limit_letters()
end
