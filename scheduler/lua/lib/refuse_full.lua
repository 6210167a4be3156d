-- refuse_full: a job of an ensemble finds the queue of its next step full. That step's model refuses
-- it, as it would a request that a client sends; for the ensemble it is one that fails.
local UNAVAILABLE = 14

local function refuse_full(F, statistics, id, j, token)
  redis.call('HINCRBY', statistics .. version_of(j.queue), 'refused_full', 1)
  redis.call('HINCRBY', statistics .. j.ensemble, 'fail_count', 1)
  end_job(F, id, j, 'failed', token, UNAVAILABLE, 'Exceeds maximum queue size', '')
end
