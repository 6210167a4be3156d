-- settle_job: one job of a batch ends, and the statistics of the batch are added up.
-- KEYS  1 lease zset  2 deadline zset  3 volume hash  4 statistics of the model version
--       families: 5 jobs  6 ended  7 replies  8 statistics
-- ARGV  1 token  2 rows of the batch  3 nanoseconds of input  4 of compute  5 of output
local F = {lease = KEYS[1], deadline = KEYS[2], volume = KEYS[3], jobs = KEYS[5],
  ended = KEYS[6], replies = KEYS[7]}
local token = ARGV[1]
local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local input_ns, infer_ns, output_ns = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local took = {input_ns, infer_ns, output_ns}
local more, of_ensembles, fenced = no_totals(), {}, 0

-- For the model of the last step it is one request, for the ensemble another.
local function note_ensemble(id, ensemble, succeeded, so_far)
  local v = redis.call('HMGET', F.jobs .. id, 'items', 'since')
  local totals = of_ensembles[ensemble] or no_totals()
  of_ensembles[ensemble] = totals
  add_request(totals, succeeded, so_far, took, v[1], now_us)
  return since_step(so_far, v[2])
end

local function settle(id, code, message, reply)
  local v = redis.call('HMGET', F.jobs .. id, 'state', 'token', 'cancelled', 'gateway', 'queue',
    'limited', 'accepted_us', 'wait_us', 'input_ns', 'infer_ns', 'output_ns', 'rows', 'beside',
    'moved_by', 'ensemble')
  if v[1] ~= 'leased' or v[2] ~= token then
    local ended = ended_by(F, id, token)
    fenced = fenced + (ended == 0 and 1 or 0)
    return ended
  end
  local j = {gateway = v[4], queue = v[5], limited = v[6], beside = v[13], moved_by = v[14],
    ensemble = v[15]}
  if v[3] then
    end_job(F, id, j, 'cancelled', token)
    count(KEYS[8], j, 'cancelled')
    return 2
  end
  local succeeded, so_far = code == '0', {v[7], v[8], v[9], v[10], v[11]}
  if j.ensemble then
    so_far = note_ensemble(id, j.ensemble, succeeded, so_far)
  end
  add_request(more, succeeded, so_far, took, v[12], now_us)
  end_job(F, id, j, succeeded and 'succeeded' or 'failed', token, code, message, reply)
  return 1
end

local function flush_settled()
  flush_ended(F)
  if fenced > 0 then
    redis.call('HINCRBY', KEYS[4], 'fenced', fenced)
  end
  if F.hits then
    redis.call('HINCRBY', KEYS[4], 'cache_hit_count', F.hits)
    redis.call('HINCRBY', KEYS[4], 'cache_hit_ns', string.format('%.0f', F.hit_us * 1000))
  end
  if more[SUCCESS] + more[FAIL] > 0 then
    local rows = more[SUCCESS] > 0 and tonumber(ARGV[2]) or 0
    add_totals(KEYS[4], more, rows, now_us, input_ns, infer_ns, output_ns)
  end
  for ensemble, totals in pairs(of_ensembles) do
    totals[EXECUTIONS] = totals[SUCCESS]
    add_totals(KEYS[8] .. ensemble, totals, 0, now_us)
  end
end
