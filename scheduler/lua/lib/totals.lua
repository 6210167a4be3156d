-- totals: the counters that every settled batch adds to, kept packed in one field, because they
-- are written far more often than read: little-endian doubles in the order below.
-- The field 'batch:<rows>' holds count, input, compute and output nanoseconds of that batch size.
-- The fields 'request_us:<bound>' and 'queue_us:<bound>' are integers: how many requests that succeeded
-- took, and waited, so many microseconds at most, and more than the bound before.
--@include statistics
--@include clock
local SUCCESS, SUCCESS_NS, FAIL, FAIL_NS, QUEUE_NS = 1, 2, 3, 4, 5
local INPUT_NS, INFER_NS, OUTPUT_NS, INFERENCES, EXECUTIONS, LAST_MS = 6, 7, 8, 9, 10, 11
local TOTALS, BATCH = '<ddddddddddd', '<dddd'

local function no_totals()
  return {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, request = {}, queue = {}}
end

-- The bucket of what took so long, as in spread.py: its bound. Most requests are quick.
local function bucket_of(us)
  if us <= 1000 then return '1000'
  elseif us <= 2500 then return '2500'
  elseif us <= 5000 then return '5000'
  elseif us <= 10000 then return '10000'
  elseif us <= 25000 then return '25000'
  elseif us <= 50000 then return '50000'
  elseif us <= 100000 then return '100000'
  elseif us <= 250000 then return '250000'
  elseif us <= 500000 then return '500000'
  elseif us <= 1000000 then return '1000000'
  elseif us <= 2500000 then return '2500000'
  elseif us <= 5000000 then return '5000000'
  elseif us <= 10000000 then return '10000000'
  elseif us <= 60000000 then return '60000000'
  end
  return 'inf'
end

-- Name the fields of buckets that have something, and say how many each has more.
local function name_buckets(kind, buckets, names, more)
  for bound, count in pairs(buckets) do
    names[#names + 1] = kind .. bound
    more[#names] = count
  end
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
  local after, waited = bucket_of(took_ns / 1000), bucket_of(j.wait_us)
  more.request[after] = (more.request[after] or 0) + 1
  more.queue[waited] = (more.queue[waited] or 0) + 1
end

-- batches: those that were computed, by their rows: {rows, how many, nanoseconds of input, compute,
--          output}
local function add_batches(version, more, batches)
  local names = {'totals'}
  for i, batch in ipairs(batches) do
    names[i + 1] = 'batch:' .. batch[1]
  end
  local counted, found = #names, {}
  name_buckets('request_us:', more.request, names, found)
  name_buckets('queue_us:', more.queue, names, found)
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
  for i = counted + 1, #names do
    fields[#fields + 1] = names[i]
    fields[#fields + 1] = (packed[i] or 0) + found[i]
  end
  redis.call('HSET', STATS .. version, 'totals', struct.pack(TOTALS, unpack(sum)), unpack(fields))
end

-- The same, of one batch that took so long; of none where it has no rows.
local function add_totals(version, more, rows, took)
  add_batches(version, more, rows > 0 and {{rows, 1, unpack(took)}} or {})
end
