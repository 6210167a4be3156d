-- step: a job of an ensemble counts for the model of each step as a request of its own. Its sums go over
-- all steps.
--@include end_job
local UNAVAILABLE = 14

-- Its queue is full. That model refuses the job, as it would a request that a client sends; for the
-- ensemble it is one that fails.
local function refuse_full(j, token)
  count_for(version_of(j.queue), 'refused_full', 1)
  count_for(j.ensemble, 'fail_count', 1)
  end_job(j, 'failed', token, UNAVAILABLE, 'Exceeds maximum queue size', '')
end

-- What `since` is from now on.
local function step_begins(j)
  return string.format('%.0f %.0f %.0f %.0f %.0f', now_us, j.wait_us, j.input_ns, j.infer_ns,
    j.output_ns)
end

-- since: what the sums were, and when, as the present step began.  -> those of this step
local function of_step(j, since)
  if not since then
    return j
  end
  local at, wait_us, input_ns, infer_ns, output_ns = string.match(since,
    '^(%S+) (%S+) (%S+) (%S+) (%S+)$')
  return {accepted_us = at, wait_us = j.wait_us - wait_us, input_ns = j.input_ns - input_ns,
    infer_ns = j.infer_ns - infer_ns, output_ns = j.output_ns - output_ns}
end
