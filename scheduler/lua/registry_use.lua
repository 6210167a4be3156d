#!lua
-- registry_use: a gateway had requests for some models. No event: it happens all the time.
-- KEYS  1 beginning of the registry's keys
-- ARGV  1.. model, how long ago the latest was (ms) ...
-- ->    0
--@include registry
for i = 1, #ARGV, 2 do
  redis.call('ZADD', USED, 'GT', now_ms - ARGV[i + 1], ARGV[i])
end
redis.call('INCR', USES)
return 0
