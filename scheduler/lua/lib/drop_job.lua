-- drop_job: a job ends without a result of its own; if it is one of a sequence, that goes on.
-- The arguments are end_job's.
local function drop_job(F, id, j, state, token, code, message, body)
  local sequence = redis.call('HGET', F.jobs .. id, 'sequence')
  end_job(F, id, j, state, token, code, message, body)
  if sequence then
    turn_ended(F, sequence, id, false, '')
  end
end
