-- set_aside: write a letter about a job that ended its workers, and keep its payload beside it.
-- dead: stream of letters; letters: family of their payloads; job: the job's key
-- j: {queue, token, crashes, beside}
-- A letter is replaced when its job was a retry of it, and the oldest make room for new ones. What
-- all letters carry together has a limit, too: beyond it, the oldest carry nothing any more.
-- A payload that begins so is a handle of one in its gateway's memory; as in arena.py.
local HANDLE, BESIDE = 0, ':payload'
local LETTERS_MOST, LETTER_MS, LETTER_BYTES = 256, 7 * 86400000, 1048576
local LETTERS_BYTES = 16 * LETTER_BYTES

local function drop_letters(dead, letters, entries)
  for _, entry in ipairs(entries) do
    redis.call('UNLINK', letters .. entry[2][2])
    redis.call('XDEL', dead, entry[1])
  end
end

local function keep_payload(letter, job, beside)
  local payload = redis.call('HGET', job, 'payload')
  if payload and string.byte(payload) == HANDLE then
    -- Whoever had it alone has set beside it what it stands for.
    beside = BESIDE
  end
  if beside and beside ~= '' then
    local size = redis.call('STRLEN', job .. beside)
    if size > 0 and size <= LETTER_BYTES then
      redis.call('RENAME', job .. beside, letter)
      redis.call('PEXPIRE', letter, LETTER_MS)
    end
    return
  end
  if payload and #payload <= LETTER_BYTES then
    redis.call('SET', letter, payload, 'PX', LETTER_MS)
  end
end

local function limit_letters(dead, letters)
  local over, bytes = redis.call('XLEN', dead) - LETTERS_MOST, 0
  if over > 0 then
    drop_letters(dead, letters, redis.call('XRANGE', dead, '-', '+', 'COUNT', over))
  end
  for _, entry in ipairs(redis.call('XREVRANGE', dead, '+', '-')) do
    local letter = letters .. entry[2][2]
    bytes = bytes + redis.call('STRLEN', letter)
    if bytes > LETTERS_BYTES then
      redis.call('UNLINK', letter)
    end
  end
end

local function set_aside(dead, letters, job, id, j)
  local v = redis.call('HMGET', job, 'rows', 'accepted_us', 'letter')
  keep_payload(letters .. id, job, j.beside)
  if v[3] then
    drop_letters(dead, letters, redis.call('XRANGE', dead, v[3], v[3]))
  end
  redis.call('XADD', dead, '*', 'id', id, 'queue', j.queue, 'worker', j.token, 'crashes', j.crashes,
    'rows', v[1], 'accepted_us', v[2])
  limit_letters(dead, letters)
end
