-- next_step: a job of an ensemble goes on to the model of its next step.
--@include end_job
local UNAVAILABLE = 14

-- Its queue is full. That model refuses the job, as it would a request that a client sends; for the
-- ensemble it is one that fails.
local function refuse_full(j, token)
  count_for(version_of(j.queue), 'refused_full', 1)
  count_for(j.ensemble, 'fail_count', 1)
  end_job(j, 'failed', token, UNAVAILABLE, 'Exceeds maximum queue size', '')
end

-- When, and with which sums, a step begins; totals.lua reads it.
local function step_begins(j)
  return string.format('%.0f %.0f %.0f %.0f %.0f', now_us, j.wait_us, j.input_ns, j.infer_ns,
    j.output_ns)
end
