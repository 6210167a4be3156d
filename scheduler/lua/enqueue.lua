#!lua
-- enqueue: accept some jobs of one queue, each once: those of sequences at their turn, one that is
-- the retry of a dead letter alone and at the head.
-- KEYS  1 beginning of the partition's keys
-- ARGV  1 gateway  2 queue  3 most jobs waiting, 0 for any  4 most bytes of payloads of the
--       version, 0 for any  5 level whose jobs count, 0 for all  6 1 when what is not begun in time
--       goes behind the others of its level instead of being refused  7 the ensemble that they are
--       for, '' for none  8 boot id of the worker that had them straight from their gateway, and
--       died; '' for none  9 entry of the dead letter, '' for none  10 the job that it is about
--       11 most sequences that run at once, '' where there are none  12 ms that one may be idle
--       13 the state that they start with
--       then for each job: id, priority, rows, ms to the deadline, ms it may
--       wait to begin (0 for the deadline alone), payload, bytes of a large payload that was set
--       beside the job instead (0: it is the payload before; negative: that is a handle of so many),
--       its caller, '' for none, and where there are sequences its own as '<kind><id>', and its flag
-- ->    for each job: 1 accepted | its state, if it is known already | 0 refused: too many jobs |
--       -1 refused: too many bytes |
--       -2 refused: its payload is not beside it, since there was no memory for it
--       -3 refused: it begins no sequence, and continues none
--       -4 refused: there is no such letter  -5 refused: what the letter carried is gone
-- A letter stays until the new job has succeeded, or has become a letter itself: one more crash
-- is enough for that.
-- No flags: a server whose memory is full refuses this before it starts.
--@include ready
-- More than one sleeping worker is woken only as the queue grows.
local RING_EVERY = 8

local gateway, queue, most_jobs, most_bytes = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local level, late_field, ensemble = tonumber(ARGV[5]), ARGV[6] == '1' and 'put_off' or 'begin', ARGV[7]
local crashed, letter, in_sequences = ARGV[8], ARGV[9], ARGV[11] ~= ''
local most_active, idle_ms = tonumber(ARGV[11]), tonumber(ARGV[12])
local FIRST, FIELDS = 14, in_sequences and 10 or 8
local version = version_of(queue)
local waited = waiting_at(queue, 0)
local waiting, counted = waited, level == 0 and waited or waiting_at(queue, level)

local function known_state(id)
  if redis.call('EXISTS', JOB .. id, ENDED .. id) == 0 then
    return nil
  end
  local mark = redis.call('GET', ENDED .. id)
  return mark and string.match(mark, '^%S+') or redis.call('HGET', JOB .. id, 'state')
end

-- -> bytes of what the letter carried, now beside the job; or why there is none
local function copy_letter(id, ttl_ms)
  --@include letters
  local beside = JOB .. id .. BESIDE
  if not redis.call('XRANGE', DEAD, letter, letter)[1] then
    return -4
  elseif redis.call('COPY', LETTER .. ARGV[10], beside, 'REPLACE') == 0 then
    return -5
  end
  redis.call('PEXPIRE', beside, ttl_ms + GRACE_MS)
  return redis.call('STRLEN', beside)
end

local function refused(answer, id, beside)
  if beside > 0 then
    redis.call('UNLINK', JOB .. id .. BESIDE)
  end
  return answer
end

local function record(j, rows, payload, beside, late_ms, caller)
  local fields = {'state', 'waiting', 'gateway', gateway, 'queue', queue, 'rows', rows,
    'accepted_us', now_us, 'queued_us', now_us, 'payload', payload, 'deadline', j.deadline}
  local n = #fields
  if j.limited then
    fields[n + 1], fields[n + 2], n = 'limited', j.limited, n + 2
  end
  if beside > 0 then
    fields[n + 1], fields[n + 2], n = 'beside', BESIDE, n + 2
  end
  if caller ~= '' then
    fields[n + 1], fields[n + 2], n = 'caller', caller, n + 2
    fields[n + 1], fields[n + 2], n = 'bytes', j.bytes, n + 2
  end
  if ensemble ~= '' then
    fields[n + 1], fields[n + 2], n = 'ensemble', ensemble, n + 2
    fields[n + 1], fields[n + 2], n = 'items', rows, n + 2
  end
  if j.priority > 0 then
    fields[n + 1], fields[n + 2], n = 'priority', j.priority, n + 2
  end
  if late_ms < math.huge then
    fields[n + 1], fields[n + 2], n = late_field, late_ms, n + 2
  end
  write(j.id, unpack(fields))
  if j.alone then
    write(j.id, 'alone', '1', 'crashes', 1, unpack(letter ~= '' and {'letter', letter} or {'not_by', crashed}))
  end
end

-- -> what is answered for the job whose words begin at ARGV[i], and the job when it is new
local function accept(i)
  local id, payload, beside = ARGV[i], ARGV[i + 5], tonumber(ARGV[i + 6])
  local ttl_ms, begin_ms = tonumber(ARGV[i + 3]), tonumber(ARGV[i + 4])
  local known = known_state(id)
  if known then
    return known
  elseif letter ~= '' then
    beside = copy_letter(id, ttl_ms)
  end
  if beside > 0 and redis.call('EXISTS', JOB .. id .. BESIDE) == 0 then
    return -2
  elseif letter ~= '' and beside < 0 then
    return beside
  elseif most_jobs > 0 and counted >= most_jobs then
    return refused(0, id, beside)
  end
  local j = {id = id, queue = queue, priority = tonumber(ARGV[i + 1]), deadline = now_ms + ttl_ms,
    alone = (crashed ~= '' or letter ~= '') and '1' or nil}
  j.bytes = beside ~= 0 and math.abs(beside) or #payload
  if not limit_bytes(j, j.bytes, most_bytes) then
    return refused(-1, id, beside)
  end
  local due_ms = begin_ms > 0 and now_ms + begin_ms or math.huge
  record(j, ARGV[i + 2], payload, beside, due_ms, ARGV[i + 7])
  redis.call('PEXPIRE', JOB .. id, ttl_ms + GRACE_MS)
  redis.call('ZADD', DEADLINE, math.min(j.deadline, due_ms), id)
  return 1, j
end

local function enter(i)
  local answer, j = accept(i)
  if j then
    put(j)
    waiting, counted = waiting + 1, counted + 1
  end
  return answer
end

local flush
if in_sequences then
  --@include grace
  --@include sequence
  flush = flush_ended
  -- -> the job whose turn it is ('' for none), whether it may go on, whether it has a slot, the last
  -- job that ended; nil for a sequence that is not there, or has been idle for too long
  local function read_sequence(name)
    local v = redis.call('HMGET', SEQUENCE .. name, 'job', 'open', 'active', 'last')
    if v[1] == '' and tonumber(redis.call('ZSCORE', IDLE, name) or 0) <= now_ms and not in_grace() then
      end_sequence(name)
      return nil
    end
    return v[1], v[2] == '1', v[3] == '1', v[4]
  end

  local function begin_sequence(name, ttl_ms)
    local free = redis.call('ZCARD', SLOTS .. version) < most_active
    redis.call('HSET', SEQUENCE .. name, 'job', '', 'state', '', 'active', free and '1' or '0')
    if free then
      redis.call('ZADD', SLOTS .. version, now_ms, name)
    else
      redis.call('RPUSH', BACKLOG .. version, name)
      redis.call('ZADD', IDLE, now_ms + ttl_ms + LOOK_MS, name)
    end
    return free
  end

  function enter(i)
    local id, ttl_ms, name, flag = ARGV[i], tonumber(ARGV[i + 3]), version .. '/' .. ARGV[i + 8], ARGV[i + 9]
    local head, open, active, last = read_sequence(name)
    if last == id then
      return 'succeeded'
    elseif not STARTS[flag] and not open and not known_state(id) then
      return refused(-3, id, tonumber(ARGV[i + 6]))
    end
    local answer, j = accept(i)
    if not j then
      return answer
    end
    write(id, 'sequence', name, 'ready', READY .. queue, 'bell', BELL .. queue)
    if not head then
      head, active = '', begin_sequence(name, ttl_ms)
    end
    local one = SEQUENCE .. name
    redis.call('HSET', one, 'open', ENDS[flag] and '0' or '1', 'idle_ms', idle_ms)
    if STARTS[flag] then
      redis.call('HSET', one, 'initial', ARGV[13])
    end
    redis.call('RPUSH', TURNS .. name, flag .. id)
    prolong(one, ttl_ms + idle_ms + KEEP_MS)
    prolong(TURNS .. name, ttl_ms + KEEP_MS)
    if head == '' and active then
      next_turn(name, false, redis.call('HGET', one, 'state'))
    end
    return 1
  end

  -- There may be more slots than when these came to wait.
  while redis.call('LLEN', BACKLOG .. version) > 0 and redis.call('ZCARD', SLOTS .. version) < most_active do
    activate_first(version)
  end
end
local answer, accepted = {}, 0
for i = FIRST, #ARGV, FIELDS do
  local answered = enter(i)
  accepted = accepted + (answered == 1 and 1 or 0)
  answer[#answer + 1] = answered
end
if flush then
  flush()
end
if accepted > 0 then
  count_for(version, 'accepted', accepted)
  if crashed ~= '' then
    count_for(version, 'crashes', accepted)
    count_for(version, 'requeued', accepted)
  end
  if ensemble ~= '' then
    count_for(ensemble, 'accepted', accepted)
  end
  if waiting > waited
    and (waited == 0 or math.floor(waited / RING_EVERY) < math.floor(waiting / RING_EVERY)) then
    ring(queue)
  end
end
return answer
