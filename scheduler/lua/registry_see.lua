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
-- As many words as one call may have.
local MOST = 1000
note_gap(silence)
for start = 3, #ARGV, MOST do
  local members, live = {}, {}
  for i = start, math.min(#ARGV, start + MOST - 1) do
    members[#members + 1] = records .. '/' .. ARGV[i]
  end
  local recorded = redis.call('HMGET', KEYS[1] .. records, unpack(ARGV, start, start + #members - 1))
  for i, seen in ipairs(redis.call('ZMSCORE', SEEN, unpack(members))) do
    if recorded[i] and seen and now_ms - tonumber(seen) <= silence then
      live[#live + 1] = now_ms
      live[#live + 1] = members[i]
    end
  end
  if #live > 0 then
    redis.call('ZADD', SEEN, unpack(live))
    count = count + #live / 2
  end
end
return count
