#!lua flags=allow-oom
-- registry_withdraw: a process leaves in order; nobody waits for it to be missed.
-- KEYS  1 records of its kind (hash)   2 seen (zset)   3 changes (stream)
-- ARGV  1 member of seen   2 id   3 changes kept   4 event kind
-- ->    1 withdrawn | 0 was not there
redis.call('ZREM', KEYS[2], ARGV[1])
if redis.call('HDEL', KEYS[1], ARGV[2]) == 0 then
  return 0
end
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[3], '*',
  'kind', ARGV[4], 'subject', ARGV[2], 'detail', '')
return 1
