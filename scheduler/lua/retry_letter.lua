#!lua
-- retry_letter: run a job that was set aside once more, alone, at the head of a queue.
-- KEYS  1 dead letters  2 ready zset  3 deadline zset  4 bell  5 statistics of the model version
--       families: 6 jobs  7 ended  8 letters
-- ARGV  1 entry of the letter  2 the job that it is about  3 id of the new job  4 gateway
--       5 queue  6 ms to the deadline
-- ->    1 accepted | its state, if the new job is known already | 0 there is no such letter |
--       -1 its payload is gone
-- The letter stays until the new job has succeeded, or has become a letter itself: one more crash
-- is enough for that.
--@include ring
--@include score
local GRACE_MS = 60000
-- Where a large payload is, after the job's own key; as in enqueue.
local BESIDE = ':payload'

local job, ttl_ms = KEYS[6] .. ARGV[3], tonumber(ARGV[6])
local ended = redis.call('GET', KEYS[7] .. ARGV[3])
if ended then
  return string.match(ended, '^%S+')
end
local state = redis.call('HGET', job, 'state')
if state then
  return state
end
local entry = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])[1]
if not entry then
  return 0
end
if redis.call('COPY', KEYS[8] .. ARGV[2], job .. BESIDE, 'REPLACE') == 0 then
  return -1
end
local rows = 1
for i = 1, #entry[2], 2 do
  if entry[2][i] == 'rows' then
    rows = entry[2][i + 1]
  end
end
local time = redis.call('TIME')
local now_us = string.format('%.0f', time[1] * 1000000 + time[2])
local deadline_ms = time[1] * 1000 + math.floor(time[2] / 1000) + ttl_ms
redis.call('PEXPIRE', job .. BESIDE, ttl_ms + GRACE_MS)
redis.call('HSET', job, 'state', 'waiting', 'gateway', ARGV[4], 'queue', ARGV[5], 'rows', rows,
  'accepted_us', now_us, 'queued_us', now_us, 'payload', '', 'beside', BESIDE, 'deadline',
  deadline_ms, 'alone', '1', 'crashes', 1, 'letter', ARGV[1])
redis.call('PEXPIRE', job, ttl_ms + GRACE_MS)
redis.call('ZADD', KEYS[2], score(0, deadline_ms, true), ARGV[3])
redis.call('ZADD', KEYS[3], deadline_ms, ARGV[3])
redis.call('HINCRBY', KEYS[5], 'accepted', 1)
ring(KEYS[4])
return 1
