#!lua flags=allow-oom
-- nack: give leased jobs back: unbegun ones while draining, or for another try after a delay.
-- KEYS  1 lease zset  2 deadline zset  3 delay zset  4 volume hash
--       families: 5 jobs  6 ended  7 replies  8 ready  9 bells  10 statistics  11 sequences
--       12 turns  13 slots  14 backlogs  and 15 the idle zset
-- ARGV  1 token  2 'unbegun' (does not count as an attempt) | 'again'  3 delay in ms
--       4 most attempts  5 what went wrong  then the ids
-- ->    for each job: 1 given back (now or by an earlier call with this token) | 2 it was the last
--       attempt, or cancelled: final | 0 lease lost
--@include version_of
--@include share
--@include end_job
--@include ended_by
--@include ring
--@include score
--@include count
--@include sequence
--@include drop_job
local F = {lease = KEYS[1], deadline = KEYS[2], volume = KEYS[4], jobs = KEYS[5],
  ended = KEYS[6], replies = KEYS[7], stats = KEYS[10],
  sequences = KEYS[11], turns = KEYS[12], slots = KEYS[13], backlogs = KEYS[14], idle = KEYS[15]}
local token, unbegun, delay_ms = ARGV[1], ARGV[2] == 'unbegun', tonumber(ARGV[3])
local time = redis.call('TIME')
local now_us = string.format('%.0f', time[1] * 1000000 + time[2])
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

local function give_back(id)
  local job = F.jobs .. id
  local v = redis.call('HMGET', job, 'state', 'token', 'cancelled', 'gateway', 'queue', 'limited',
    'priority', 'deadline', 'attempts', 'alone', 'begin', 'returned_by', 'beside',
    'ensemble', 'put_off')
  if v[12] == token then
    return 1
  end
  if v[1] ~= 'leased' or v[2] ~= token then
    return ended_by(F, id, token) > 0 and 2 or 0
  end
  local j = {gateway = v[4], queue = v[5], limited = v[6], beside = v[13], ensemble = v[14]}
  if v[3] then
    drop_job(F, id, j, 'cancelled', token)
    count(KEYS[10], j, 'cancelled')
    return 2
  end
  if not unbegun and tonumber(v[9]) >= tonumber(ARGV[4]) then
    drop_job(F, id, j, 'failed', token, 13, ARGV[5], '')
    count(KEYS[10], j, 'fail_count')
    return 2
  end
  redis.call('ZREM', F.lease, id)
  if unbegun then
    local attempts = redis.call('HINCRBY', job, 'attempts', -1)
    local due_ms = math.max(tonumber(v[11] or 0), tonumber(v[15] or 0))
    if attempts == 0 and due_ms > 0 then
      -- What claim had lifted: it may wait so long to be begun, and has not been.
      redis.call('ZADD', F.deadline, math.min(due_ms, tonumber(v[8])), id)
    end
  end
  if delay_ms > 0 then
    redis.call('HSET', job, 'state', 'delayed', 'token', '', 'returned_by', token)
    redis.call('ZADD', KEYS[3], now_ms + delay_ms, id)
    return 1
  end
  redis.call('HSET', job, 'state', 'waiting', 'token', '', 'returned_by', token,
    'queued_us', now_us)
  redis.call('ZADD', KEYS[8] .. j.queue, score(v[7] or 0, v[8], v[10] == '1'), id)
  ring(KEYS[9] .. j.queue)
  return 1
end

local answer = {}
for i = 6, #ARGV do
  answer[#answer + 1] = give_back(ARGV[i])
end
flush_ended(F)
return answer
