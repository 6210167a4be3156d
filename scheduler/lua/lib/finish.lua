-- finish: a job ends; if it is one of a sequence, that goes on.
--@include end_job

-- As end_job.
-- left: what the job made of its sequence's state, if it succeeded
local function finish(j, state, token, code, message, body, left)
  end_job(j, state, token, code, message, body)
  if j.sequence then
    --@include sequence
    turn_ended(j.sequence, j.id, state == 'succeeded', left or '')
  end
end

-- Of a job whose client is gone.
local function finish_cancelled(j, token)
  finish(j, 'cancelled', token)
  count(j, 'cancelled')
end
