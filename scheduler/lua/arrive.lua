#!lua flags=allow-oom
-- arrive: queue a job of an ensemble that comes from another partition, each hop once.
-- KEYS  1 ready zset and  2 bell of its queue  3 lease zset  4 deadline zset  5 volume hash
--       6 zset of jobs that move
--       families: 7 jobs  8 ended  9 replies  10 statistics
-- ARGV  1 .. 21 as outbox gave them (11: where its large payload is here)  22 payload
-- ->    1 it is here, or has been | 0 its large payload is not beside it: carry it again
--@include version_of
--@include share
--@include end_job
--@include ring
--@include score
--@include count
--@include refuse_full
--@include waiting_at
--@include limit_bytes
local GRACE_MS = 60000

local F = {lease = KEYS[3], deadline = KEYS[4], volume = KEYS[5], jobs = KEYS[7],
  ended = KEYS[8], replies = KEYS[9]}
local id, hop, queue, most_jobs = ARGV[1], tonumber(ARGV[2]) + 1, ARGV[3], tonumber(ARGV[4])
local priority, beside, ttl_ms, begin_ms = ARGV[9], ARGV[11], tonumber(ARGV[12]), tonumber(ARGV[13])
local most_bytes, level, puts_off = tonumber(ARGV[19]), tonumber(ARGV[20]), ARGV[21] == '1'
local job, payload = F.jobs .. id, ARGV[22]
local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local now_ms = math.floor(now_us / 1000)

-- What it left here on an earlier hop does not count.
local known = redis.call('HMGET', job, 'state', 'hops', 'beside')

local function came_before()
  if known[1] then
    return tonumber(known[2] or 0) >= hop
  end
  local mark = redis.call('GET', F.ended .. id)
  local moved = mark and string.match(mark, '^moved (%d+)$')
  return mark and (not moved or tonumber(moved) >= hop)
end

if came_before() then
  if beside ~= '' and known[3] ~= beside then
    redis.call('UNLINK', job .. beside)
  end
  return 1
end
if beside ~= '' and redis.call('EXISTS', job .. beside) == 0 then
  return 0
end
local full = most_jobs > 0 and waiting_at(KEYS[1], level) >= most_jobs
local begin_by_ms = begin_ms > 0 and now_ms + begin_ms or 0
local begun = {now_us, ARGV[15], ARGV[16], ARGV[17], ARGV[18]}
redis.call('ZREM', KEYS[6], id)
redis.call('UNLINK', job, F.ended .. id)
if known[3] and known[3] ~= '' and known[3] ~= beside then
  redis.call('UNLINK', job .. known[3])
end
redis.call('HSET', job, 'state', 'waiting', 'hops', hop, 'gateway', ARGV[5], 'queue', queue,
  'ensemble', ARGV[6], 'items', ARGV[7], 'rows', ARGV[8], 'priority', priority, 'payload', payload,
  'beside', beside, 'deadline', now_ms + ttl_ms,
  'begin', puts_off and 0 or begin_by_ms, 'put_off', puts_off and begin_by_ms or 0,
  'accepted_us', string.format('%.0f', now_us - tonumber(ARGV[14])),
  'queued_us', string.format('%.0f', now_us), 'wait_us', ARGV[15], 'input_ns', ARGV[16],
  'infer_ns', ARGV[17], 'output_ns', ARGV[18],
  'since', string.format('%.0f %s %s %s %s', unpack(begun)))
redis.call('PEXPIRE', job, math.max(1, ttl_ms) + GRACE_MS)
local j = {gateway = ARGV[5], queue = queue, ensemble = ARGV[6] ~= '' and ARGV[6], beside = beside}
local size = beside ~= '' and redis.call('STRLEN', job .. beside) or #payload
if full or not limit_bytes(F, id, j, size, most_bytes) then
  refuse_full(F, KEYS[10], id, j, '')
  flush_ended(F)
  return 1
end
redis.call('HINCRBY', KEYS[10] .. version_of(queue), 'accepted', 1)
if ARGV[10] ~= '' then
  count(KEYS[10], j, 'cancelled')
  end_job(F, id, j, 'cancelled', '')
  flush_ended(F)
  return 1
end
local due_ms = begin_ms > 0 and math.min(begin_ms, ttl_ms) or ttl_ms
redis.call('ZADD', F.deadline, now_ms + due_ms, id)
redis.call('ZADD', KEYS[1], score(priority, now_ms + ttl_ms), id)
ring(KEYS[2])
return 1
