-- totals: the counters that every settled batch adds to, kept packed in one field, because they
-- are written far more often than read: little-endian doubles in the order below.
-- The field 'batch:<rows>' holds count, input, compute and output nanoseconds of that batch size.
local SUCCESS, SUCCESS_NS, FAIL, FAIL_NS, QUEUE_NS = 1, 2, 3, 4, 5
local INPUT_NS, INFER_NS, OUTPUT_NS, INFERENCES, EXECUTIONS, LAST_MS = 6, 7, 8, 9, 10, 11
local TOTALS, BATCH = '<ddddddddddd', '<dddd'

local function no_totals()
  return {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
end

-- One request that was computed, or failed.
-- so_far: when it was accepted, microseconds in queues, nanoseconds of input, compute, output
--         before this batch
-- took:   nanoseconds of this batch
local function add_request(more, succeeded, so_far, took, rows, now_us)
  local took_ns = (now_us - tonumber(so_far[1])) * 1000
  if not succeeded then
    more[FAIL] = more[FAIL] + 1
    more[FAIL_NS] = more[FAIL_NS] + took_ns
    return
  end
  more[SUCCESS] = more[SUCCESS] + 1
  more[SUCCESS_NS] = more[SUCCESS_NS] + took_ns
  more[QUEUE_NS] = more[QUEUE_NS] + tonumber(so_far[2] or 0) * 1000
  more[INPUT_NS] = more[INPUT_NS] + took[1] + tonumber(so_far[3] or 0)
  more[INFER_NS] = more[INFER_NS] + took[2] + tonumber(so_far[4] or 0)
  more[OUTPUT_NS] = more[OUTPUT_NS] + took[3] + tonumber(so_far[5] or 0)
  more[INFERENCES] = more[INFERENCES] + tonumber(rows)
end

local function add_totals(key, more, rows, now_us, input_ns, infer_ns, output_ns)
  local batch = 'batch:' .. rows
  local packed = redis.call('HMGET', key, 'totals', batch)
  local sum = packed[1] and {struct.unpack(TOTALS, packed[1])} or no_totals()
  for i = SUCCESS, INFERENCES do
    sum[i] = sum[i] + more[i]
  end
  sum[EXECUTIONS] = sum[EXECUTIONS] + more[EXECUTIONS] + (rows > 0 and 1 or 0)
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
