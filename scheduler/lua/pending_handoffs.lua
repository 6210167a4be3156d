#!lua flags=allow-oom
-- pending_handoffs: jobs that are to be carried to another partition, without their payloads.
-- KEYS  1 beginning of the partition's keys
-- ARGV  1 most jobs  2 ms for which they have waited, or since they were last looked for so
--       then ids: of these alone, however long
-- ->    for each job: {id, hops, the next queue, most jobs waiting there, gateway, ensemble, items,
--       rows, priority, cancelled, where a large payload is, ms to the deadline, ms it may wait to
--       begin, microseconds since it was accepted, in queues, nanoseconds of input, compute, output,
--       most bytes of payloads there, level whose jobs count, 1 when it is put off if it is late,
--       caller, bytes of its request, microseconds of devices}
-- Numbers but those of milliseconds, and what is put off, are words.
--@include job
local read = job_reader({'deadline', 'begin', 'put_off', 'accepted_us'}, 'state', 'hops', 'queue', 'most',
  'gateway', 'ensemble', 'items', 'rows', 'priority', 'cancelled', 'beside', 'wait_us', 'input_ns',
  'infer_ns', 'output_ns', 'most_bytes', 'level', 'caller', 'bytes', 'device_us')

local function parcel(id)
  local j = read(id)
  local begin_ms = math.max(j.begin, j.put_off)
  return j.state == 'moving' and {id, j.hops or '0', j.queue, j.most, j.gateway, j.ensemble or '',
    j.items or '1', j.rows, j.priority, j.cancelled or '', j.beside or '', j.deadline - now_ms,
    begin_ms > 0 and math.max(1, begin_ms - now_ms) or 0, string.format('%.0f', now_us - j.accepted_us),
    j.wait_us or '0', j.input_ns, j.infer_ns, j.output_ns, j.most_bytes or '0', j.level or '0',
    j.put_off > 0 and 1 or 0, j.caller or '', j.bytes or '0', j.device_us or '0'}
end

local ids = {unpack(ARGV, 3)}
local stranded = #ids == 0
if stranded then
  ids = redis.call('ZRANGEBYSCORE', MOVING, '-inf', now_ms - ARGV[2], 'LIMIT', 0, ARGV[1])
end
local answer = {}
for _, id in ipairs(ids) do
  local found = parcel(id)
  if found then
    answer[#answer + 1] = found
    if stranded then
      -- Those whose next server is away must not stand before the others for ever.
      redis.call('ZADD', MOVING, 'XX', now_ms, id)
    end
  else
    redis.call('ZREM', MOVING, id)
  end
end
return answer
