-- count: one more in a statistic of the version that a queue belongs to.
local function count(family, queue, name)
  redis.call('HINCRBY', family .. string.match(queue, '^(.*):%d+$'), name, 1)
end
