-- totals: the counters that every settled batch adds to, kept packed in one field, because they
-- are written far more often than read: little-endian doubles in the order below.
-- The field 'batch:<rows>' holds count, input, compute and output nanoseconds of that batch size.
local SUCCESS, SUCCESS_NS, FAIL, FAIL_NS, QUEUE_NS = 1, 2, 3, 4, 5
local INPUT_NS, INFER_NS, OUTPUT_NS, INFERENCES, EXECUTIONS, LAST_MS = 6, 7, 8, 9, 10, 11
local TOTALS, BATCH = '<ddddddddddd', '<dddd'

local function no_totals()
  return {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
end

local function add_totals(key, more, rows, now_us, input_ns, infer_ns, output_ns)
  local batch = 'batch:' .. rows
  local packed = redis.call('HMGET', key, 'totals', batch)
  local sum = packed[1] and {struct.unpack(TOTALS, packed[1])} or no_totals()
  for i = SUCCESS, INFERENCES do
    sum[i] = sum[i] + more[i]
  end
  sum[EXECUTIONS] = sum[EXECUTIONS] + (rows > 0 and 1 or 0)
  sum[LAST_MS] = math.floor(now_us / 1000)
  sum[LAST_MS + 1] = nil
  if rows == 0 then
    redis.call('HSET', key, 'totals', struct.pack(TOTALS, unpack(sum)))
    return
  end
  local c, a, b, d = 0, 0, 0, 0
  if packed[2] then
    c, a, b, d = struct.unpack(BATCH, packed[2])
  end
  redis.call('HSET', key, 'totals', struct.pack(TOTALS, unpack(sum)), batch,
    struct.pack(BATCH, c + 1, a + input_ns, b + infer_ns, d + output_ns))
end
