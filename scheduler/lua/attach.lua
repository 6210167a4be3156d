#!lua flags=allow-oom
-- attach: a gateway says that it lives, so that its jobs and its reply stream are kept.
-- KEYS  1 gateways zset  2 its reply stream
-- ARGV  1 gateway's boot id  2 ms that the stream outlives the last word  3 '1' to leave for good
-- ->    1
local time = redis.call('TIME')
if ARGV[3] == '1' then
  -- Heard of last when time began: the next reap drops its jobs and its stream, also in a grace.
  redis.call('ZADD', KEYS[1], 0, ARGV[1])
else
  redis.call('ZADD', KEYS[1], time[1] * 1000 + math.floor(time[2] / 1000), ARGV[1])
  redis.call('PEXPIRE', KEYS[2], ARGV[2])
end
return 1
