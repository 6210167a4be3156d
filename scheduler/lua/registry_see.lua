#!lua
-- registry_see: processes of which somebody knows that they live, all at once.
-- KEYS  1 beginning of the registry's keys
-- ARGV  1 where their records are   2 silence (ms)   3 id   4 id ...
-- ->    how many were seen
--
-- One that is not recorded, or was not seen for longer than the silence, is left out: it says itself
-- what it is, so that readers hear of its return.
--@include registry
local records, silence, count = ARGV[1], tonumber(ARGV[2]), 0
note_gap(silence)
for i = 3, #ARGV do
  local member = records .. '/' .. ARGV[i]
  local seen = tonumber(redis.call('ZSCORE', SEEN, member))
  if seen and now_ms - seen <= silence and redis.call('HEXISTS', KEYS[1] .. records, ARGV[i]) == 1 then
    redis.call('ZADD', SEEN, now_ms, member)
    count = count + 1
  end
end
return count
