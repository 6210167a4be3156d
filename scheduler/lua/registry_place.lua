#!lua
-- registry_place: replace all placements, unless another scheduler was faster.
-- KEYS  1 placements (hash)   2 revision (string)   3 changes (stream)
-- ARGV  1 revision that the decision was based on   2 changes kept   3 event detail
--       4.. field, record, field, record ...
-- ->    the new revision | nil: the placements are of another revision, look again
if tonumber(redis.call('GET', KEYS[2]) or 0) ~= tonumber(ARGV[1]) then
  return false
end
redis.call('DEL', KEYS[1])
for i = 4, #ARGV, 2 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
end
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[2], '*',
  'kind', 'placement.changed', 'subject', '', 'detail', ARGV[3])
return redis.call('INCR', KEYS[2])
