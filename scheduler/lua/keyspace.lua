#!lua
-- keyspace: fix the number of partitions when the keyspace is first used; admit a process, if its
-- schema goes together with what is here: with schemas one above and one below (ADR 0014).
-- KEYS  1 beginning of the registry's keys
-- ARGV  1 partitions wanted  2 schema of this software  3 ms after which a silent schema is gone
-- ->    {partitions, schema that it does not go with, or its own when it goes with all,
--        1 when live processes have that schema, 0 when it is what the keyspace was used with last}
--@include registry
local KEYSPACE = KEYS[1] .. 'keyspace'
local mine = tonumber(ARGV[2])
redis.call('HSETNX', KEYSPACE, 'partitions', ARGV[1])
redis.call('HSETNX', KEYSPACE, 'schema', ARGV[2])
redis.call('ZREMRANGEBYSCORE', SCHEMAS, '-inf', now_ms - tonumber(ARGV[3]))
local kept = redis.call('HMGET', KEYSPACE, 'partitions', 'schema')
for _, live in ipairs(redis.call('ZRANGE', SCHEMAS, 0, -1)) do
  if math.abs(tonumber(live) - mine) > 1 then
    return {kept[1], live, 1}
  end
end
local newest = tonumber(kept[2])
if math.abs(newest - mine) > 1 then
  return {kept[1], kept[2], 0}
end
redis.call('HSET', KEYSPACE, 'schema', math.max(newest, mine))
redis.call('ZADD', SCHEMAS, now_ms, ARGV[2])
return {kept[1], ARGV[2], 1}
