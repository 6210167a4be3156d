-- count: one more in a statistic of the version that a job waits for, or is in work for, and in
-- that of the ensemble that it belongs to.
-- j: {queue, ensemble}
local function count(family, j, name)
  redis.call('HINCRBY', family .. version_of(j.queue), name, 1)
  if j.ensemble then
    redis.call('HINCRBY', family .. j.ensemble, name, 1)
  end
end
