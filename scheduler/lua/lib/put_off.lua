-- put_off: a job that was not begun in time, and is to be served all the same: behind the others of
-- its level, once. From now on only its deadline ends it.
local function put_off(F, ready, id, priority, deadline_ms)
  redis.call('HSET', F.jobs .. id, 'put_off', 0)
  redis.call('ZADD', ready, score(priority, deadline_ms, false, true), id)
  redis.call('ZADD', F.deadline, deadline_ms, id)
end
