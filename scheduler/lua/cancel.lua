#!lua flags=allow-oom
-- cancel: the client is gone. A waiting job goes now; a leased one is marked, and renew says so.
-- An unknown id is left unknown.
-- KEYS  1 lease zset  2 deadline zset  3 delay zset  4 volume hash
--       families: 5 jobs  6 payloads  7 replies  8 owned  9 ready  10 statistics
-- ARGV  1 id
-- ->    1 gone | 2 marked | 0 unknown or final
--@include end_job
local F = {lease = KEYS[1], deadline = KEYS[2], volume = KEYS[4], jobs = KEYS[5],
  payloads = KEYS[6], replies = KEYS[7], owned = KEYS[8]}
local id = ARGV[1]
local v = redis.call('HMGET', F.jobs .. id, 'state', 'queue', 'gateway', 'model', 'version', 'bytes')
if v[1] == 'leased' then
  redis.call('HSET', F.jobs .. id, 'cancelled', '1')
  return 2
end
if v[1] ~= 'waiting' and v[1] ~= 'delayed' then
  return 0
end
redis.call('ZREM', KEYS[9] .. v[2], id)
redis.call('ZREM', KEYS[3], id)
end_job(F, id, {gateway = v[3], model = v[4], version = v[5], bytes = v[6]}, 'cancelled', '')
redis.call('HINCRBY', KEYS[10] .. v[4] .. ':' .. v[5], 'cancelled', 1)
return 1
