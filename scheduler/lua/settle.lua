#!lua flags=allow-oom
-- settle: end some jobs of one batch, each exactly once, each on its own. What each made of its
-- sequence's state is kept in the same step, and the next request of the sequence has its turn.
-- KEYS  1 beginning of the partition's keys
-- ARGV  1 token  2 the model version  3 rows of the batch, 0 when nothing was computed
--       4 nanoseconds of input  5 of compute  6 of output
--       then for each job: id, code, message, reply, the state after it
-- ->    for each job: 1 settled (now or by an earlier call with this token) | 2 it had been
--       cancelled | 0 lease lost: another worker owns the job now
--@include finish
--@include totals
--@include usage
local token, version, rows = ARGV[1], ARGV[2], tonumber(ARGV[3])
local took = {tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])}
local more, of_ensembles, fenced = no_totals(), {}, 0
local read = live_job_reader({'rows', 'accepted_us', 'wait_us', 'input_ns', 'infer_ns', 'output_ns'},
  'caller', 'bytes', 'device_us')

-- For the model of the last step it is one request, for the ensemble another.
local function note_ensemble(j, succeeded)
  --@include step
  local step = live_job_reader({'items'}, 'since')(j.id)
  local totals = of_ensembles[j.ensemble] or no_totals()
  of_ensembles[j.ensemble] = totals
  add_request(totals, succeeded, j, took, step.items)
  return of_step(j, step.since)
end

-- What its caller has had: of the devices its rows' share of this batch, and of those before.
local function note_usage(j, succeeded, size)
  local share = rows > 0 and took[2] / 1000 * j.rows / rows or 0
  local more = succeeded and {1, 0, j.rows, j.bytes + size, j.wait_us, (j.device_us or 0) + share}
    or {0, 1, 0, 0, 0, 0}
  use(j.ensemble or version, j.caller, more)
end

local function settle(id, code, message, body, left)
  local j, succeeded = read(id), code == '0'
  if not is_held(j, token) then
    local ended = ended_by(id, token)
    fenced = fenced + (ended == 0 and 1 or 0)
    return ended
  end
  if j.cancelled then
    finish_cancelled(j, token)
    return 2
  end
  add_request(more, succeeded, j.ensemble and note_ensemble(j, succeeded) or j, took, j.rows)
  if j.caller then
    note_usage(j, succeeded, #body)
  end
  finish(j, succeeded and 'succeeded' or 'failed', token, code, message, body, left)
  return 1
end

local answer = {}
for i = 7, #ARGV, 5 do
  answer[#answer + 1] = settle(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4])
end
flush_ended()
flush_usage()
if fenced > 0 then
  count_for(version, 'fenced', fenced)
end
if hits > 0 then
  count_for(version, 'cache_hit_count', hits)
  count_for(version, 'cache_hit_ns', hit_us * 1000)
end
if more[SUCCESS] + more[FAIL] > 0 then
  add_totals(version, more, more[SUCCESS] > 0 and rows or 0, took)
end
for ensemble, totals in pairs(of_ensembles) do
  totals[EXECUTIONS] = totals[SUCCESS]
  add_totals(ensemble, totals, 0, took)
end
return answer
