#!lua flags=allow-oom
-- advance: end a stage of some jobs, and queue them for another.
-- KEYS  1 lease zset  2 deadline zset  3 volume hash  4 ready zset and  5 bell of the next stage
--       families: 6 jobs  7 ended  8 replies  9 statistics  10 sequences  11 turns  12 slots
--       13 backlogs  and 14 the idle zset
-- ARGV  1 token  2 the next stage's queue  3 nanoseconds of input  4 of compute  5 of output
--       then for each job: id, payload, bytes of a large payload that was set beside the job
--       instead (0: it is the payload before), and where, after the job's key
-- ->    for each job: 1 moved (now or by an earlier call with this token) | 2 it had been
--       cancelled | 0 lease lost
--@include version_of
--@include share
--@include end_job
--@include ended_by
--@include ring
--@include score
--@include count
--@include sequence
--@include drop_job
local F = {lease = KEYS[1], deadline = KEYS[2], volume = KEYS[3], jobs = KEYS[6],
  ended = KEYS[7], replies = KEYS[8], stats = KEYS[9],
  sequences = KEYS[10], turns = KEYS[11], slots = KEYS[12], backlogs = KEYS[13], idle = KEYS[14]}
local token, queue = ARGV[1], ARGV[2]
local time = redis.call('TIME')
local now_us = string.format('%.0f', time[1] * 1000000 + time[2])
local moved = 0

local function sum(old, more)
  return string.format('%.0f', tonumber(old or 0) + tonumber(more))
end

local function move(id, payload, size, beside)
  local job = F.jobs .. id
  local v = redis.call('HMGET', job, 'state', 'token', 'cancelled', 'gateway', 'queue', 'limited',
    'priority', 'deadline', 'moved_by', 'input_ns', 'infer_ns', 'output_ns', 'crashes', 'beside',
    'ensemble')
  if v[9] == token then
    return 1
  end
  if v[1] ~= 'leased' or v[2] ~= token then
    local ended, moved_on = ended_by(F, id, token)
    return moved_on and 1 or (ended == 2 and 2 or 0)
  end
  if v[3] then
    local j = {gateway = v[4], queue = v[5], limited = v[6], beside = v[14], ensemble = v[15]}
    drop_job(F, id, j, 'cancelled', token)
    count(KEYS[9], j, 'cancelled')
    return 2
  end
  if v[6] then
    redis.call('HINCRBY', F.volume, version_of(queue), size - tonumber(v[6]))
    redis.call('HSET', job, 'limited', size)
  end
  if v[13] then
    redis.call('HDEL', job, 'alone', 'crashes')
  end
  if v[14] and v[14] ~= '' then
    redis.call('UNLINK', job .. v[14])
  end
  redis.call('HSET', job, 'state', 'waiting', 'token', '', 'moved_by', token, 'queue', queue,
    'queued_us', now_us, 'begin', 0, 'put_off', 0, 'attempts', 0, 'payload', payload, 'beside', beside,
    'input_ns', sum(v[10], ARGV[3]), 'infer_ns', sum(v[11], ARGV[4]),
    'output_ns', sum(v[12], ARGV[5]))
  redis.call('ZREM', F.lease, id)
  redis.call('ZADD', KEYS[4], score(v[7] or 0, v[8]), id)
  moved = moved + 1
  return 1
end

local answer = {}
for i = 6, #ARGV, 4 do
  local id, size, beside = ARGV[i], tonumber(ARGV[i + 2]), ARGV[i + 3]
  if size == 0 then
    size, beside = #ARGV[i + 1], ''
  end
  local answered = move(id, ARGV[i + 1], size, beside)
  if answered == 0 then
    count(KEYS[9], {queue = queue}, 'fenced')
  end
  if beside ~= '' and answered ~= 1 then
    redis.call('UNLINK', F.jobs .. id .. beside)
  end
  answer[#answer + 1] = answered
end
flush_ended(F)
if moved > 0 then
  ring(KEYS[5])
end
return answer
