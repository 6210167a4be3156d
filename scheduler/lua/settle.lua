#!lua flags=allow-oom
-- settle: end some jobs of one batch, each exactly once, each on its own.
-- KEYS  1 lease zset  2 deadline zset  3 volume hash  4 statistics of the model version
--       families: 5 jobs  6 payloads  7 replies  8 owned
-- ARGV  1 token  2 rows of the batch, 0 when nothing was computed  3 nanoseconds of input
--       4 of compute  5 of output  then for each job: id, code, message, reply
-- ->    for each job: 1 settled (now or by an earlier call with this token) | 2 it had been
--       cancelled | 0 lease lost: another worker owns the job now
--@include end_job
local F = {lease = KEYS[1], deadline = KEYS[2], volume = KEYS[3], jobs = KEYS[5],
  payloads = KEYS[6], replies = KEYS[7], owned = KEYS[8]}
local token = ARGV[1]
local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local input_ns, infer_ns, output_ns = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local sum = {success_count = 0, success_ns = 0, fail_count = 0, fail_ns = 0, queue_count = 0,
  queue_ns = 0, compute_count = 0, compute_input_ns = 0, compute_infer_ns = 0,
  compute_output_ns = 0, inference_count = 0, cancelled = 0}

local function add(name, amount)
  sum[name] = sum[name] + amount
end

local function count(code, v)
  local took_ns = (now_us - tonumber(v[8])) * 1000
  if code ~= '0' then
    add('fail_count', 1)
    add('fail_ns', took_ns)
    return
  end
  add('success_count', 1)
  add('success_ns', took_ns)
  add('queue_count', 1)
  add('queue_ns', tonumber(v[9] or 0) * 1000)
  add('compute_count', 1)
  add('compute_input_ns', input_ns + tonumber(v[10] or 0))
  add('compute_infer_ns', infer_ns + tonumber(v[11] or 0))
  add('compute_output_ns', output_ns + tonumber(v[12] or 0))
  add('inference_count', tonumber(v[13]))
end

local function settle(id, code, message, reply)
  local v = redis.call('HMGET', F.jobs .. id, 'state', 'token', 'cancelled', 'gateway', 'model',
    'version', 'bytes', 'accepted_us', 'wait_us', 'input_ns', 'infer_ns', 'output_ns', 'rows')
  if v[2] ~= token then
    return 0
  end
  if v[1] ~= 'leased' then
    return 1
  end
  local j = {gateway = v[4], model = v[5], version = v[6], bytes = v[7]}
  if v[3] then
    end_job(F, id, j, 'cancelled', token)
    add('cancelled', 1)
    return 2
  end
  end_job(F, id, j, code == '0' and 'succeeded' or 'failed', token, code, message, reply)
  count(code, v)
  return 1
end

local answer = {}
for i = 6, #ARGV, 4 do
  answer[#answer + 1] = settle(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3])
end

for name, amount in pairs(sum) do
  if amount > 0 then
    redis.call('HINCRBY', KEYS[4], name, string.format('%.0f', amount))
  end
end
if sum.success_count > 0 then
  redis.call('HSET', KEYS[4], 'last_ms', string.format('%.0f', now_us / 1000))
  redis.call('HINCRBY', KEYS[4], 'execution_count', 1)
  local batch = 'batch:' .. ARGV[2] .. ':'
  redis.call('HINCRBY', KEYS[4], batch .. 'count', 1)
  redis.call('HINCRBY', KEYS[4], batch .. 'input_ns', ARGV[3])
  redis.call('HINCRBY', KEYS[4], batch .. 'infer_ns', ARGV[4])
  redis.call('HINCRBY', KEYS[4], batch .. 'output_ns', ARGV[5])
end
return answer
