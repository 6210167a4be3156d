#!lua flags=allow-oom
-- registry_tell: whose turn it is to tell the cluster's metrics: one gateway's at a time.
-- KEYS  1 beginning of the registry's keys
-- ARGV  1 gateway's id  2 ms that it keeps the turn without asking again, 0 to give it up
--       3 ms of silence after which a gateway is taken for dead, and has lost its turn
-- ->    1 it is this gateway's | 0 another's, or nobody's
--@include registry
local gateway, keep = ARGV[1], tonumber(ARGV[2])
local teller = redis.call('GET', TELLER)
if keep == 0 then
  if teller == gateway then
    redis.call('DEL', TELLER)
  end
  return 0
end
if teller and teller ~= gateway then
  local seen = redis.call('ZSCORE', SEEN, 'gateways/' .. teller)
  if seen and now_ms - tonumber(seen) <= tonumber(ARGV[3]) then
    return 0
  end
end
redis.call('SET', TELLER, gateway, 'PX', keep)
return 1
