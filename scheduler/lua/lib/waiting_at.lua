-- waiting_at: how many jobs of a queue wait at a priority level; at all of them for 0.
local function waiting_at(ready, level)
  if level == 0 then
    return redis.call('ZCARD', ready)
  end
  return redis.call('ZCOUNT', ready, least_score(level), '(' .. least_score(level + 1))
end
