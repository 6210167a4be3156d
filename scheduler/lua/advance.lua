#!lua flags=allow-oom
-- advance: end a stage of some jobs, and queue them for another.
-- KEYS  1 lease zset  2 deadline zset  3 volume hash  4 ready zset and  5 bell of the next stage
--       families: 6 jobs  7 payloads  8 replies  9 owned  10 statistics
-- ARGV  1 token  2 next stage  3 its queue  4 nanoseconds of input  5 of compute  6 of output
--       then for each job: id, payload
-- ->    for each job: 1 moved (now or by an earlier call with this token) | 2 it had been
--       cancelled | 0 lease lost
--@include end_job
--@include ring
--@include score
local F = {lease = KEYS[1], deadline = KEYS[2], volume = KEYS[3], jobs = KEYS[6],
  payloads = KEYS[7], replies = KEYS[8], owned = KEYS[9]}
local token = ARGV[1]
local time = redis.call('TIME')
local now_us = string.format('%.0f', time[1] * 1000000 + time[2])
local answer = {}

local function move(id, payload)
  local job = F.jobs .. id
  local v = redis.call('HMGET', job, 'state', 'token', 'cancelled', 'gateway', 'model', 'version',
    'bytes', 'priority', 'deadline', 'moved_by')
  if v[10] == token then
    return 1
  end
  if v[1] ~= 'leased' or v[2] ~= token then
    return 0
  end
  local j = {gateway = v[4], model = v[5], version = v[6], bytes = v[7]}
  if v[3] then
    end_job(F, id, j, 'cancelled', token)
    redis.call('HINCRBY', KEYS[10] .. j.model .. ':' .. j.version, 'cancelled', 1)
    return 2
  end
  redis.call('HSET', job, 'state', 'waiting', 'token', '', 'moved_by', token, 'stage', ARGV[2],
    'queue', ARGV[3], 'bytes', #payload, 'queued_us', now_us, 'begin', 0, 'attempts', 0)
  redis.call('HDEL', job, 'alone', 'crashes')
  redis.call('HINCRBY', job, 'input_ns', ARGV[4])
  redis.call('HINCRBY', job, 'infer_ns', ARGV[5])
  redis.call('HINCRBY', job, 'output_ns', ARGV[6])
  redis.call('SET', F.payloads .. id, payload, 'KEEPTTL')
  redis.call('HINCRBY', F.volume, j.model .. ':' .. j.version, #payload - tonumber(j.bytes))
  redis.call('ZREM', F.lease, id)
  redis.call('ZADD', KEYS[4], score(v[8], v[9]), id)
  return 1
end

for i = 7, #ARGV, 2 do
  answer[#answer + 1] = move(ARGV[i], ARGV[i + 1])
end
ring(KEYS[5])
return answer
