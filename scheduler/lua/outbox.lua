#!lua flags=allow-oom
-- outbox: jobs that are to be carried to another partition, without their payloads.
-- KEYS  1 zset of jobs that move  2 family of jobs
-- ARGV  1 most jobs  2 ms for which they have waited, or since they were last looked for so
--       then ids: of these alone, however long
-- ->    for each job: {id, hops, the next queue, most jobs waiting there, gateway, ensemble, items,
--       rows, priority, cancelled, where a large payload is, ms to the deadline, ms it may wait to
--       begin, microseconds since it was accepted, in queues, nanoseconds of input, compute, output,
--       most bytes of payloads there, level whose jobs count, 1 when it is put off if it is late}
local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local now_ms = math.floor(now_us / 1000)

local function parcel(id)
  local v = redis.call('HMGET', KEYS[2] .. id, 'state', 'hops', 'queue', 'most', 'gateway',
    'ensemble', 'items', 'rows', 'priority', 'cancelled', 'beside', 'deadline', 'begin',
    'accepted_us', 'wait_us', 'input_ns', 'infer_ns', 'output_ns', 'most_bytes', 'level', 'put_off')
  if v[1] ~= 'moving' then
    return nil
  end
  local put_off_ms = tonumber(v[21] or 0)
  local begin_ms = math.max(tonumber(v[13] or 0), put_off_ms)
  return {id, v[2] or '0', v[3], v[4], v[5], v[6] or '', v[7] or '1', v[8], v[9], v[10] or '', v[11] or '',
    tonumber(v[12]) - now_ms, begin_ms > 0 and math.max(1, begin_ms - now_ms) or 0,
    string.format('%.0f', now_us - tonumber(v[14])), v[15] or '0', v[16], v[17], v[18],
    v[19] or '0', v[20] or '0', put_off_ms > 0 and 1 or 0}
end

local ids = {unpack(ARGV, 3)}
local stranded = #ids == 0
if stranded then
  ids = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now_ms - tonumber(ARGV[2]), 'LIMIT', 0,
    tonumber(ARGV[1]))
end
local answer = {}
for _, id in ipairs(ids) do
  local found = parcel(id)
  if found then
    answer[#answer + 1] = found
    if stranded then
      -- Those whose next server is away must not stand before the others for ever.
      redis.call('ZADD', KEYS[1], 'XX', now_ms, id)
    end
  else
    redis.call('ZREM', KEYS[1], id)
  end
end
return answer
