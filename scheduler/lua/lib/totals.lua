-- totals: the counters that every settled batch adds to, kept packed in one field, because they
-- are written far more often than read: little-endian doubles in the order below.
-- The field 'batch:<rows>' holds count, input, compute and output nanoseconds of that batch size.
--@include statistics
--@include clock
local SUCCESS, SUCCESS_NS, FAIL, FAIL_NS, QUEUE_NS = 1, 2, 3, 4, 5
local INPUT_NS, INFER_NS, OUTPUT_NS, INFERENCES, EXECUTIONS, LAST_MS = 6, 7, 8, 9, 10, 11
local TOTALS, BATCH = '<ddddddddddd', '<dddd'

local function no_totals()
  return {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
end

-- One request that was computed, or failed.
-- j: {accepted_us, wait_us in queues, input_ns, infer_ns, output_ns}, before this batch
-- took: nanoseconds of this batch
local function add_request(more, succeeded, j, took, rows)
  local took_ns = (now_us - j.accepted_us) * 1000
  if not succeeded then
    more[FAIL] = more[FAIL] + 1
    more[FAIL_NS] = more[FAIL_NS] + took_ns
    return
  end
  more[SUCCESS] = more[SUCCESS] + 1
  more[SUCCESS_NS] = more[SUCCESS_NS] + took_ns
  more[QUEUE_NS] = more[QUEUE_NS] + j.wait_us * 1000
  more[INPUT_NS] = more[INPUT_NS] + took[1] + j.input_ns
  more[INFER_NS] = more[INFER_NS] + took[2] + j.infer_ns
  more[OUTPUT_NS] = more[OUTPUT_NS] + took[3] + j.output_ns
  more[INFERENCES] = more[INFERENCES] + rows
end

-- batches: those that were computed, by their rows: {rows, how many, nanoseconds of input, compute,
--          output}
local function add_batches(version, more, batches)
  local names = {'totals'}
  for i, batch in ipairs(batches) do
    names[i + 1] = 'batch:' .. batch[1]
  end
  local packed = redis.call('HMGET', STATS .. version, unpack(names))
  local sum = packed[1] and {struct.unpack(TOTALS, packed[1])} or no_totals()
  for i = SUCCESS, EXECUTIONS do
    sum[i] = sum[i] + more[i]
  end
  sum[LAST_MS] = math.floor(now_us / 1000)
  sum[LAST_MS + 1] = nil
  local fields = {}
  for i, batch in ipairs(batches) do
    local c, a, b, d = 0, 0, 0, 0
    if packed[i + 1] then
      c, a, b, d = struct.unpack(BATCH, packed[i + 1])
    end
    sum[EXECUTIONS] = sum[EXECUTIONS] + batch[2]
    fields[#fields + 1] = names[i + 1]
    fields[#fields + 1] = struct.pack(BATCH, c + batch[2], a + batch[3], b + batch[4], d + batch[5])
  end
  redis.call('HSET', STATS .. version, 'totals', struct.pack(TOTALS, unpack(sum)), unpack(fields))
end

-- The same, of one batch that took so long; of none where it has no rows.
local function add_totals(version, more, rows, took)
  add_batches(version, more, rows > 0 and {{rows, 1, unpack(took)}} or {})
end
