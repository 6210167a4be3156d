#!lua
-- enqueue: accept some jobs of one queue, each once.
-- KEYS  1 ready zset  2 deadline zset  3 bell  4 volume hash  5 statistics of the model version
--       families: 6 jobs  7 ended  8 statistics
-- ARGV  1 gateway  2 queue  3 most jobs waiting, 0 for any  4 most bytes of payloads of the
--       version, 0 for any  5 level whose jobs count, 0 for all  6 1 when what is not begun in time
--       goes behind the others of its level instead of being refused  7 the ensemble that they are
--       for, '' for none  then for each job: id, priority, rows, ms to the deadline, ms it may
--       wait to begin (0 for the deadline alone), payload, bytes of a large payload that was set
--       beside the job instead (0: it is the payload before)
-- ->    for each job: 1 accepted | its state, if it is known already | 0 refused: too many jobs |
--       -1 refused: too many bytes |
--       -2 refused: its payload is not beside it, since there was no memory for it
-- No flags: a server whose memory is full refuses this before it starts.
--@include version_of
--@include ring
--@include score
-- A job whose scheduler and gateway both vanish for good still goes, this long after its deadline.
local GRACE_MS = 60000
-- Where a large payload is, after the job's own key; as in queue.py.
local BESIDE = ':payload'
-- More than one sleeping worker is woken only as the queue grows.
local RING_EVERY = 8

local queue, most_jobs, most_bytes = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local ensemble = ARGV[7]
local time = redis.call('TIME')
local now_us = string.format('%.0f', time[1] * 1000000 + time[2])
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local waiting = redis.call('ZCARD', KEYS[1])
local waited, accepted = waiting, 0
local level, late_field = tonumber(ARGV[5]), ARGV[6] == '1' and 'put_off' or 'begin'
local counted = level == 0 and waiting
  or redis.call('ZCOUNT', KEYS[1], least_score(level), '(' .. least_score(level + 1))
local volume_field = version_of(queue)

local function known_state(id)
  local ended = redis.call('GET', KEYS[7] .. id)
  if ended then
    return string.match(ended, '^%S+')
  end
  return redis.call('HGET', KEYS[6] .. id, 'state')
end

local function enqueue(id, priority, rows, ttl_ms, begin_ms, payload, beside)
  if redis.call('EXISTS', KEYS[6] .. id, KEYS[7] .. id) > 0 then
    return known_state(id)
  end
  local size = beside > 0 and beside or #payload
  if beside > 0 and redis.call('EXISTS', KEYS[6] .. id .. BESIDE) == 0 then
    return -2
  end
  if most_jobs > 0 and counted >= most_jobs then
    return 0
  end
  local fields = {'state', 'waiting', 'gateway', ARGV[1], 'queue', queue, 'rows', rows,
    'accepted_us', now_us, 'queued_us', now_us, 'payload', payload}
  if most_bytes > 0 then
    local bytes = tonumber(redis.call('HGET', KEYS[4], volume_field) or 0)
    if bytes + size > most_bytes then
      return -1
    end
    redis.call('HINCRBY', KEYS[4], volume_field, size)
    fields[#fields + 1], fields[#fields + 2] = 'limited', size
  end
  if beside > 0 then
    fields[#fields + 1], fields[#fields + 2] = 'beside', BESIDE
  end
  local deadline_ms = now_ms + ttl_ms
  local due_ms = deadline_ms
  fields[#fields + 1], fields[#fields + 2] = 'deadline', deadline_ms
  if ensemble ~= '' then
    fields[#fields + 1], fields[#fields + 2] = 'ensemble', ensemble
    fields[#fields + 1], fields[#fields + 2] = 'items', rows
  end
  if priority ~= '0' then
    fields[#fields + 1], fields[#fields + 2] = 'priority', priority
  end
  if begin_ms > 0 then
    fields[#fields + 1], fields[#fields + 2] = late_field, now_ms + begin_ms
    due_ms = math.min(due_ms, now_ms + begin_ms)
  end
  redis.call('HSET', KEYS[6] .. id, unpack(fields))
  redis.call('PEXPIRE', KEYS[6] .. id, ttl_ms + GRACE_MS)
  redis.call('ZADD', KEYS[1], score(priority, deadline_ms), id)
  redis.call('ZADD', KEYS[2], due_ms, id)
  waiting, counted, accepted = waiting + 1, counted + 1, accepted + 1
  return 1
end

local answer = {}
for i = 8, #ARGV, 7 do
  local beside = tonumber(ARGV[i + 6])
  local accepted_as = enqueue(ARGV[i], ARGV[i + 1], ARGV[i + 2], tonumber(ARGV[i + 3]),
    tonumber(ARGV[i + 4]), ARGV[i + 5], beside)
  if beside > 0 and (accepted_as == 0 or accepted_as == -1) then
    redis.call('UNLINK', KEYS[6] .. ARGV[i] .. BESIDE)
  end
  answer[#answer + 1] = accepted_as
end
if accepted > 0 then
  redis.call('HINCRBY', KEYS[5], 'accepted', accepted)
  if ensemble ~= '' then
    redis.call('HINCRBY', KEYS[8] .. ensemble, 'accepted', accepted)
  end
  if waited == 0 or math.floor(waited / RING_EVERY) < math.floor(waiting / RING_EVERY) then
    ring(KEYS[3])
  end
end
return answer
