-- new_job: a job of the queue ARGV[2] comes into being, once; whoever includes this queues it.
-- KEYS  2 deadline zset  4 volume hash  families: 6 jobs  7 ended
-- ARGV  1 gateway  2 queue  3 most jobs waiting  4 most bytes of payloads of the version
-- A job whose scheduler and gateway both vanish for good still goes, this long after its deadline.
local GRACE_MS = 60000
-- Where a large payload is, after the job's own key; as in queue.py.
local BESIDE = ':payload'

local queue, most_jobs, most_bytes = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local now_us = string.format('%.0f', time[1] * 1000000 + time[2])
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local volume_field = version_of(queue)

local function known_state(id)
  local ended = redis.call('GET', KEYS[7] .. id)
  if ended then
    return string.match(ended, '^%S+')
  end
  return redis.call('HGET', KEYS[6] .. id, 'state')
end

local function refused(answer, id, beside)
  if beside > 0 then
    redis.call('UNLINK', KEYS[6] .. id .. BESIDE)
  end
  return answer
end

-- line: {counted: jobs that count against the most, late_field, ensemble: '' for none}
-- beside: bytes of a payload that was set beside the job; negative when *payload* is a handle of
-- so many bytes in its gateway's memory
-- -> what enqueue answers for it, and its deadline when it is new
local function new_job(line, id, priority, rows, ttl_ms, begin_ms, payload, beside)
  if redis.call('EXISTS', KEYS[6] .. id, KEYS[7] .. id) > 0 then
    return known_state(id)
  end
  local size = beside ~= 0 and math.abs(beside) or #payload
  if beside > 0 and redis.call('EXISTS', KEYS[6] .. id .. BESIDE) == 0 then
    return -2
  end
  if most_jobs > 0 and line.counted >= most_jobs then
    return refused(0, id, beside)
  end
  local fields = {'state', 'waiting', 'gateway', ARGV[1], 'queue', queue, 'rows', rows,
    'accepted_us', now_us, 'queued_us', now_us, 'payload', payload}
  if most_bytes > 0 then
    local bytes = tonumber(redis.call('HGET', KEYS[4], volume_field) or 0)
    if bytes + size > most_bytes then
      return refused(-1, id, beside)
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
  if line.ensemble ~= '' then
    fields[#fields + 1], fields[#fields + 2] = 'ensemble', line.ensemble
    fields[#fields + 1], fields[#fields + 2] = 'items', rows
  end
  if priority ~= '0' then
    fields[#fields + 1], fields[#fields + 2] = 'priority', priority
  end
  if begin_ms > 0 then
    fields[#fields + 1], fields[#fields + 2] = line.late_field, now_ms + begin_ms
    due_ms = math.min(due_ms, now_ms + begin_ms)
  end
  redis.call('HSET', KEYS[6] .. id, unpack(fields))
  redis.call('PEXPIRE', KEYS[6] .. id, ttl_ms + GRACE_MS)
  redis.call('ZADD', KEYS[2], due_ms, id)
  return 1, deadline_ms
end
