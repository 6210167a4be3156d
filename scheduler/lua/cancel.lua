#!lua flags=allow-oom
-- cancel: the client is gone. A waiting job goes now; a leased one is marked, and renew says so.
-- An unknown id is left unknown.
-- KEYS  1 lease zset  2 deadline zset  3 delay zset  4 volume hash
--       families: 5 jobs  6 ended  7 replies  8 ready  9 statistics  10 sequences  11 turns
--       12 slots  13 backlogs  and 14 the idle zset
-- ARGV  1 id
-- ->    1 gone | 2 marked | 0 unknown or final
-- A job that is being carried to another partition is marked, and may be there already.
--@include version_of
--@include share
--@include end_job
--@include count
--@include ring
--@include score
--@include sequence
--@include drop_job
local F = {lease = KEYS[1], deadline = KEYS[2], volume = KEYS[4], jobs = KEYS[5],
  ended = KEYS[6], replies = KEYS[7], stats = KEYS[9],
  sequences = KEYS[10], turns = KEYS[11], slots = KEYS[12], backlogs = KEYS[13], idle = KEYS[14]}
local id = ARGV[1]
local v = redis.call('HMGET', F.jobs .. id, 'state', 'queue', 'gateway', 'limited', 'beside',
  'ensemble')
if v[1] == 'leased' or v[1] == 'moving' then
  redis.call('HSET', F.jobs .. id, 'cancelled', '1')
  return 2
end
if v[1] ~= 'waiting' and v[1] ~= 'delayed' then
  return 0
end
redis.call('ZREM', KEYS[8] .. v[2], id)
redis.call('ZREM', KEYS[3], id)
local j = {gateway = v[3], queue = v[2], limited = v[4], beside = v[5], ensemble = v[6]}
drop_job(F, id, j, 'cancelled', '')
flush_ended(F)
count(KEYS[9], j, 'cancelled')
return 1
