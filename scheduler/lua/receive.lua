#!lua flags=allow-oom
-- receive: queue a job of an ensemble that comes from another partition, each hop once.
-- KEYS  1 beginning of the partition's keys
-- ARGV  1 .. 24 as pending_handoffs gave them (11: where its large payload is here)  25 payload
-- ->    1 it is here, or has been | 0 its large payload is not beside it: carry it again
--@include step
--@include ready
local id, hop, queue, most_jobs = ARGV[1], tonumber(ARGV[2]) + 1, ARGV[3], tonumber(ARGV[4])
local priority, beside, ttl_ms, begin_ms = ARGV[9], ARGV[11], tonumber(ARGV[12]), tonumber(ARGV[13])
local most_bytes, level, puts_off = tonumber(ARGV[19]), tonumber(ARGV[20]), ARGV[21] == '1'
local job, payload = JOB .. id, ARGV[25]
-- What it left here on an earlier hop does not count.
local known = job_reader({'hops'}, 'state', 'beside')(id)

local function came_before()
  if known.state then
    return known.hops >= hop
  end
  local mark = redis.call('GET', ENDED .. id)
  local moved = mark and string.match(mark, '^moved (%d+)$')
  return mark and (not moved or tonumber(moved) >= hop)
end

if came_before() then
  if beside ~= '' and known.beside ~= beside then
    redis.call('UNLINK', job .. beside)
  end
  return 1
end
if beside ~= '' and redis.call('EXISTS', job .. beside) == 0 then
  return 0
end
redis.call('ZREM', MOVING, id)
redis.call('UNLINK', job, ENDED .. id)
if beside_of(known) and known.beside ~= beside then
  redis.call('UNLINK', beside_of(known))
end
local begin_by_ms = begin_ms > 0 and now_ms + begin_ms or 0
local j = {id = id, gateway = ARGV[5], queue = queue, ensemble = ARGV[6] ~= '' and ARGV[6] or nil,
  beside = beside, priority = tonumber(priority), deadline = now_ms + ttl_ms, wait_us = ARGV[15],
  input_ns = ARGV[16], infer_ns = ARGV[17], output_ns = ARGV[18]}
write(id, 'state', 'waiting', 'hops', hop, 'gateway', j.gateway, 'queue', queue,
  'ensemble', ARGV[6], 'items', ARGV[7], 'rows', ARGV[8], 'priority', priority, 'payload', payload,
  'beside', beside, 'deadline', j.deadline,
  'begin', puts_off and 0 or begin_by_ms, 'put_off', puts_off and begin_by_ms or 0,
  'accepted_us', now_us - ARGV[14], 'queued_us', now_us, 'wait_us', j.wait_us,
  'input_ns', j.input_ns, 'infer_ns', j.infer_ns, 'output_ns', j.output_ns, 'since', step_begins(j))
if ARGV[22] ~= '' then
  write(id, 'caller', ARGV[22], 'bytes', ARGV[23], 'device_us', ARGV[24])
end
redis.call('PEXPIRE', job, math.max(1, ttl_ms) + GRACE_MS)
local size = beside ~= '' and redis.call('STRLEN', job .. beside) or #payload
if most_jobs > 0 and waiting_at(queue, level) >= most_jobs or not limit_bytes(j, size, most_bytes) then
  refuse_full(j, '')
  flush_ended()
  return 1
end
count_for(version_of(queue), 'accepted', 1)
if ARGV[10] ~= '' then
  count(j, 'cancelled')
  end_job(j, 'cancelled', '')
  flush_ended()
  return 1
end
if j.limited then
  write(id, 'limited', size)
end
redis.call('ZADD', DEADLINE, now_ms + (begin_ms > 0 and math.min(begin_ms, ttl_ms) or ttl_ms), id)
put(j)
ring(queue)
return 1
