#!lua
-- keyspace: fix the number of partitions when the keyspace is first used; admit a process, if its
-- schema goes together with what is here: with schemas one above and one below (ADR 0014).
-- KEYS  1 keyspace hash  2 schemas (zset)
-- ARGV  1 partitions wanted  2 schema of this software  3 ms after which a silent schema is gone
-- ->    {partitions, schema that it does not go with, or its own when it goes with all,
--        1 when live processes have that schema, 0 when it is what the keyspace was used with last}
local mine = tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

redis.call('HSETNX', KEYS[1], 'partitions', ARGV[1])
redis.call('HSETNX', KEYS[1], 'schema', ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - tonumber(ARGV[3]))
local kept = redis.call('HMGET', KEYS[1], 'partitions', 'schema')
for _, live in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  if math.abs(tonumber(live) - mine) > 1 then
    return {kept[1], live, 1}
  end
end
local newest = tonumber(kept[2])
if math.abs(newest - mine) > 1 then
  return {kept[1], kept[2], 0}
end
redis.call('HSET', KEYS[1], 'schema', math.max(newest, mine))
redis.call('ZADD', KEYS[2], now, ARGV[2])
return {kept[1], ARGV[2], 1}
