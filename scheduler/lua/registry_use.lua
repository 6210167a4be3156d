#!lua
-- registry_use: a gateway has requests for some models now. No event: it happens all the time.
-- KEYS  1 used (zset)
-- ARGV  1.. models
-- ->    0
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for _, model in ipairs(ARGV) do
  redis.call('ZADD', KEYS[1], now, model)
end
return 0
