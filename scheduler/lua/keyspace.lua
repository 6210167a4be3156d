#!lua
-- keyspace: fix the number of partitions and the schema when the keyspace is first used.
-- KEYS  1 keyspace hash
-- ARGV  1 partitions wanted  2 schema of this software
-- ->    {partitions, schema} as they are
redis.call('HSETNX', KEYS[1], 'partitions', ARGV[1])
redis.call('HSETNX', KEYS[1], 'schema', ARGV[2])
return redis.call('HMGET', KEYS[1], 'partitions', 'schema')
