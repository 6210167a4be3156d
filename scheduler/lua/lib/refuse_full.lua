-- refuse_full: a job of an ensemble finds the queue of its next step full; it counts as one that
-- this step's model accepted and failed.
local UNAVAILABLE = 14

local function refuse_full(F, statistics, id, j, token)
  redis.call('HINCRBY', statistics .. version_of(j.queue), 'accepted', 1)
  count(statistics, j, 'fail_count')
  end_job(F, id, j, 'failed', token, UNAVAILABLE, 'Exceeds maximum queue size', '')
end
