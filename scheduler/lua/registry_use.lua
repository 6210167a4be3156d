#!lua
-- registry_use: a gateway had requests for some models. No event: it happens all the time.
-- KEYS  1 used (zset)
-- ARGV  1.. model, how long ago the latest was (ms) ...
-- ->    0
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for i = 1, #ARGV, 2 do
  redis.call('ZADD', KEYS[1], 'GT', now - ARGV[i + 1], ARGV[i])
end
return 0
