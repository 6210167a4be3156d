#!lua flags=allow-oom
-- forward: end a step of some jobs of ensembles, and queue them for the model of the next one; or,
-- where that has its queue in another partition, set them down to be carried there (outbox).
-- KEYS  1 lease zset  2 deadline zset  3 volume hash
--       4 ready zset and  5 bell of the next queue; or, twice, the zset of jobs that move
--       6 statistics of the version whose step ends
--       families: 7 jobs  8 ended  9 replies  10 statistics
-- ARGV  1 token  2 the next queue  3 most jobs waiting there, 0 for any  4 most bytes of payloads
--       of its version, 0 for any  5 level whose jobs count, 0 for all  6 1 when what is not begun
--       in time goes behind the others of its level instead of being refused
--       7 rows of the batch, 0 when it has been counted
--       8 nanoseconds of input  9 of compute  10 of output  11 1 when it is in another partition
--       then for each job: id, rows, priority, ms it may wait to begin (0 for the deadline
--       alone), payload, bytes of a large payload that was set beside the job instead (0: it is
--       the payload before), and where, after the job's key
-- ->    for each job: 1 moved, or failed since the next queue is full (now or by an earlier call
--       with this token) | 2 it had been cancelled | 0 lease lost
--@include version_of
--@include share
--@include end_job
--@include ended_by
--@include ring
--@include score
--@include count
--@include totals
--@include step
--@include refuse_full
--@include waiting_at
--@include limit_bytes
local F = {lease = KEYS[1], deadline = KEYS[2], volume = KEYS[3], jobs = KEYS[7],
  ended = KEYS[8], replies = KEYS[9]}
local token, queue, most_jobs, most_bytes = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local level, puts_off = tonumber(ARGV[5]), ARGV[6] == '1'
local took = {tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])}
local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local now_ms = math.floor(now_us / 1000)
local away = ARGV[11] == '1'
local waiting = most_jobs > 0 and not away and waiting_at(KEYS[4], level) or 0
local moved = 0
local more = no_totals()

local function read(id)
  local v = redis.call('HMGET', F.jobs .. id, 'state', 'token', 'cancelled', 'gateway', 'queue',
    'limited', 'deadline', 'moved_by', 'crashes', 'beside', 'ensemble', 'rows', 'since',
    'accepted_us', 'wait_us', 'input_ns', 'infer_ns', 'output_ns')
  return {state = v[1], token = v[2], cancelled = v[3], gateway = v[4], queue = v[5],
    limited = v[6], deadline = tonumber(v[7]), moved_by = v[8], crashes = v[9], beside = v[10],
    ensemble = v[11], rows = v[12], since = v[13], sums = {v[14], v[15], v[16], v[17], v[18]}}
end

-- What the job had for its last step: a payload, crashes, a share of the version's bytes.
local function leave(job, j)
  if j.limited then
    redis.call('HINCRBY', F.volume, version_of(j.queue), -tonumber(j.limited))
  end
  if j.limited or j.crashes then
    redis.call('HDEL', job, 'limited', 'alone', 'crashes')
  end
  if j.beside and j.beside ~= '' then
    redis.call('UNLINK', job .. j.beside)
  end
  j.limited, j.beside = nil, nil
end

local function enter(id, j, rows, priority, begin_ms, payload, beside)
  local due_ms = begin_ms > 0 and now_ms + begin_ms or 0
  local job, sums = F.jobs .. id, {}
  for i = 2, 5 do
    sums[i] = tonumber(j.sums[i] or 0) + (i > 2 and took[i - 2] or 0)
  end
  local since = string.format('%.0f %.0f %.0f %.0f %.0f', now_us, sums[2], sums[3], sums[4],
    sums[5])
  redis.call('HSET', job, 'state', away and 'moving' or 'waiting', 'token', '', 'moved_by', token, 'queue', queue,
    'queued_us', string.format('%.0f', now_us), 'attempts', 0, 'rows', rows, 'priority', priority,
    'begin', puts_off and 0 or due_ms, 'put_off', puts_off and due_ms or 0, 'payload', payload, 'beside', beside,
    'input_ns', string.format('%.0f', sums[3]), 'infer_ns', string.format('%.0f', sums[4]),
    'output_ns', string.format('%.0f', sums[5]), 'since', since)
  redis.call('ZREM', F.lease, id)
  moved = moved + 1
  if away then
    redis.call('HSET', job, 'most', most_jobs, 'most_bytes', most_bytes, 'level', level)
    redis.call('ZREM', F.deadline, id)
    redis.call('ZADD', KEYS[4], now_ms, id)
    return
  end
  if due_ms > 0 then
    redis.call('ZADD', F.deadline, math.min(due_ms, j.deadline), id)
  end
  redis.call('ZADD', KEYS[4], score(priority, j.deadline), id)
  waiting = waiting + 1
end

local function forward(id, rows, priority, begin_ms, payload, size, beside)
  local j = read(id)
  if j.moved_by == token then
    return 1
  end
  if j.state ~= 'leased' or j.token ~= token then
    local ended, moved_on = ended_by(F, id, token)
    return moved_on and 1 or ended
  end
  if j.cancelled then
    end_job(F, id, j, 'cancelled', token)
    count(KEYS[10], j, 'cancelled')
    return 2
  end
  add_request(more, true, since_step(j.sums, j.since), took, j.rows, now_us)
  leave(F.jobs .. id, j)
  j.queue = queue
  local full = not away and most_jobs > 0 and waiting >= most_jobs
  if full or not away and not limit_bytes(F, id, j, size, most_bytes) then
    refuse_full(F, KEYS[10], id, j, token)
    return 1
  end
  enter(id, j, rows, priority, begin_ms, payload, beside)
  return 1
end

local answer = {}
for i = 12, #ARGV, 7 do
  local id, size, beside = ARGV[i], tonumber(ARGV[i + 5]), ARGV[i + 6]
  if size == 0 then
    size, beside = #ARGV[i + 4], ''
  end
  local before = moved
  answer[#answer + 1] = forward(id, ARGV[i + 1], ARGV[i + 2], tonumber(ARGV[i + 3]), ARGV[i + 4],
    size, beside)
  if beside ~= '' and moved == before
    and redis.call('HGET', F.jobs .. id, 'beside') ~= beside then
    redis.call('UNLINK', F.jobs .. id .. beside)
  end
end
flush_ended(F)
if moved > 0 and not away then
  redis.call('HINCRBY', KEYS[10] .. version_of(queue), 'accepted', moved)
  ring(KEYS[5])
end
if more[SUCCESS] > 0 then
  add_totals(KEYS[6], more, tonumber(ARGV[7]), now_us, took[1], took[2], took[3])
end
return answer
