#!lua
-- registry_place: replace all placements, unless another scheduler was faster.
-- KEYS  1 beginning of the registry's keys
-- ARGV  1 revision that the decision was based on   2 event detail
--       3.. field, record, field, record ...
-- ->    the new revision | nil: the placements are of another revision, look again
--@include registry
if tonumber(redis.call('GET', REVISION) or 0) ~= tonumber(ARGV[1]) then
  return false
end
redis.call('DEL', PLACEMENTS)
for i = 3, #ARGV, 2 do
  redis.call('HSET', PLACEMENTS, ARGV[i], ARGV[i + 1])
end
note_change('placement.changed', '', ARGV[2])
return redis.call('INCR', REVISION)
