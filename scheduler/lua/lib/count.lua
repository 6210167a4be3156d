-- count: one more in a statistic of the version that a queue belongs to.
local function count(family, queue, name)
  redis.call('HINCRBY', family .. version_of(queue), name, 1)
end
