#!lua
-- enqueue: accept a job once.
-- KEYS  1 job hash  2 payload  3 ready zset  4 deadline zset  5 bell  6 gateway's jobs
--       7 volume hash  8 statistics
-- ARGV  1 id  2 gateway  3 model  4 version  5 stage  6 queue  7 priority  8 rows
--       9 milliseconds to the deadline  10 milliseconds it may wait to begin, 0 for the deadline
--       11 most jobs waiting, 0 for any  12 most bytes of the version, 0 for any  13 payload
-- ->    {1} accepted | {2, state} known already | {0, 'jobs' | 'bytes', limit} refused
-- No flags: a server whose memory is full refuses this before it starts.
--@include ring
--@include score
-- A job whose scheduler and gateway both vanish for good still goes, this long after its deadline.
local GRACE_MS = 60000

local state = redis.call('HGET', KEYS[1], 'state')
if state then
  return {2, state}
end
local most_jobs, most_bytes = tonumber(ARGV[11]), tonumber(ARGV[12])
if most_jobs > 0 and redis.call('ZCARD', KEYS[3]) >= most_jobs then
  return {0, 'jobs', most_jobs}
end
local bytes = #ARGV[13]
local field = ARGV[3] .. ':' .. ARGV[4]
if most_bytes > 0 and tonumber(redis.call('HGET', KEYS[7], field) or 0) + bytes > most_bytes then
  return {0, 'bytes', most_bytes}
end

local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local now_ms = math.floor(now_us / 1000)
local deadline_ms = now_ms + tonumber(ARGV[9])
local begin_ms = tonumber(ARGV[10]) > 0 and now_ms + tonumber(ARGV[10]) or 0
local due_ms = deadline_ms
if begin_ms > 0 and begin_ms < due_ms then
  due_ms = begin_ms
end
local life_ms = tonumber(ARGV[9]) + GRACE_MS

redis.call('HSET', KEYS[1], 'state', 'waiting', 'gateway', ARGV[2], 'model', ARGV[3],
  'version', ARGV[4], 'stage', ARGV[5], 'queue', ARGV[6], 'priority', ARGV[7], 'rows', ARGV[8],
  'deadline', deadline_ms, 'begin', begin_ms, 'bytes', bytes,
  'accepted_us', string.format('%.0f', now_us), 'queued_us', string.format('%.0f', now_us))
redis.call('PEXPIRE', KEYS[1], life_ms)
redis.call('SET', KEYS[2], ARGV[13], 'PX', life_ms)
redis.call('ZADD', KEYS[3], score(ARGV[7], deadline_ms), ARGV[1])
redis.call('ZADD', KEYS[4], due_ms, ARGV[1])
redis.call('SADD', KEYS[6], ARGV[1])
redis.call('HINCRBY', KEYS[7], field, bytes)
redis.call('HINCRBY', KEYS[8], 'accepted', 1)
ring(KEYS[5])
return {1}
