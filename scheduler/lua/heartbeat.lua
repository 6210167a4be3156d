#!lua flags=allow-oom
-- heartbeat: a gateway says that it lives, so that its jobs and its reply stream are kept.
-- KEYS  1 beginning of the partition's keys
-- ARGV  1 gateway's boot id  2 ms that its stream outlives the last word  3 '1' to leave for good
-- ->    1
--@include clock
--@include reply
if ARGV[3] == '1' then
  -- Heard of last when time began: the next reap drops its jobs and its stream, also in a grace.
  redis.call('ZADD', GATEWAYS, 0, ARGV[1])
else
  redis.call('ZADD', GATEWAYS, now_ms, ARGV[1])
  redis.call('PEXPIRE', REPLY .. ARGV[1], ARGV[2])
end
return 1
