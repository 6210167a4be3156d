#!lua flags=allow-oom
-- settle: end some jobs of one batch, each exactly once, each on its own.
-- KEYS  1 lease zset  2 deadline zset  3 volume hash  4 statistics of the model version
--       families: 5 jobs  6 ended  7 replies
-- ARGV  1 token  2 rows of the batch, 0 when nothing was computed  3 nanoseconds of input
--       4 of compute  5 of output  then for each job: id, code, message, reply
-- ->    for each job: 1 settled (now or by an earlier call with this token) | 2 it had been
--       cancelled | 0 lease lost: another worker owns the job now
--@include version_of
--@include end_job
--@include ended_by
--@include totals
local F = {lease = KEYS[1], deadline = KEYS[2], volume = KEYS[3], jobs = KEYS[5],
  ended = KEYS[6], replies = KEYS[7]}
local token = ARGV[1]
local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local input_ns, infer_ns, output_ns = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local more, cancelled = no_totals(), 0

local function note(code, v)
  local took_ns = (now_us - tonumber(v[7])) * 1000
  if code ~= '0' then
    more[FAIL] = more[FAIL] + 1
    more[FAIL_NS] = more[FAIL_NS] + took_ns
    return
  end
  more[SUCCESS] = more[SUCCESS] + 1
  more[SUCCESS_NS] = more[SUCCESS_NS] + took_ns
  more[QUEUE_NS] = more[QUEUE_NS] + tonumber(v[8] or 0) * 1000
  more[INPUT_NS] = more[INPUT_NS] + input_ns + tonumber(v[9] or 0)
  more[INFER_NS] = more[INFER_NS] + infer_ns + tonumber(v[10] or 0)
  more[OUTPUT_NS] = more[OUTPUT_NS] + output_ns + tonumber(v[11] or 0)
  more[INFERENCES] = more[INFERENCES] + tonumber(v[12])
end

local function settle(id, code, message, reply)
  local v = redis.call('HMGET', F.jobs .. id, 'state', 'token', 'cancelled', 'gateway', 'queue',
    'limited', 'accepted_us', 'wait_us', 'input_ns', 'infer_ns', 'output_ns', 'rows', 'beside',
    'moved_by')
  if v[1] ~= 'leased' or v[2] ~= token then
    return (ended_by(F, id, token))
  end
  local j = {gateway = v[4], queue = v[5], limited = v[6], beside = v[13], moved_by = v[14]}
  if v[3] then
    end_job(F, id, j, 'cancelled', token)
    cancelled = cancelled + 1
    return 2
  end
  end_job(F, id, j, code == '0' and 'succeeded' or 'failed', token, code, message, reply)
  note(code, v)
  return 1
end

local answer, fenced = {}, 0
for i = 6, #ARGV, 4 do
  local settled = settle(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3])
  fenced = fenced + (settled == 0 and 1 or 0)
  answer[#answer + 1] = settled
end
flush_ended(F)
if fenced > 0 then
  redis.call('HINCRBY', KEYS[4], 'fenced', fenced)
end
if cancelled > 0 then
  redis.call('HINCRBY', KEYS[4], 'cancelled', cancelled)
end
if more[SUCCESS] + more[FAIL] > 0 then
  local rows = more[SUCCESS] > 0 and tonumber(ARGV[2]) or 0
  add_totals(KEYS[4], more, rows, now_us, input_ns, infer_ns, output_ns)
end
return answer
