#!lua
-- registry_change_key: a key of callers is made, or changed by whoever knows what it was.
-- KEYS  1 beginning of the registry's keys
-- ARGV  1 id   2 record that is there, "" for none   3 record that takes its place
--       4 kind of the event   5 most keys, those that were revoked included
--       6.. ids of keys that were revoked long ago, which go
-- ->    1; 0: another record is there now; -1: there are as many keys as there may be
--@include registry
local there = redis.call('HGET', ACCESS_KEYS, ARGV[1]) or ''
if there == ARGV[3] then
  return 1
end
if there ~= ARGV[2] then
  return 0
end
for i = 6, #ARGV do
  redis.call('HDEL', ACCESS_KEYS, ARGV[i])
end
if there == '' and redis.call('HLEN', ACCESS_KEYS) >= tonumber(ARGV[5]) then
  return -1
end
redis.call('HSET', ACCESS_KEYS, ARGV[1], ARGV[3])
note_change(ARGV[4], ARGV[1], '')
return 1
