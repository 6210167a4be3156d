#!lua flags=allow-oom
-- registry_sweep: forget processes that were not seen for long, and what is known of artifacts
-- that nobody has any more.
-- KEYS  1 seen (zset)   2 changes (stream)   3 signatures (hash)   4 nodes   5 workers
--       6 gateways   7 schedulers   8 batch proofs   9 unsplittable (hashes)
-- ARGV  1 changes kept   2 number n of processes
--       3.. n times: member of seen, when the caller knew it was last seen (ms), index in KEYS,
--       id, event kind; after that the fields of such artifacts in 3, 8 and 9
-- ->    number of processes forgotten
--
-- A process that was seen again since the caller looked stays.
local gone, n = 0, tonumber(ARGV[2])
for i = 3, 2 + 5 * n, 5 do
  local seen = redis.call('ZSCORE', KEYS[1], ARGV[i])
  if not seen or tonumber(seen) <= tonumber(ARGV[i + 1]) then
    redis.call('ZREM', KEYS[1], ARGV[i])
    gone = gone + redis.call('HDEL', KEYS[tonumber(ARGV[i + 2])], ARGV[i + 3])
    redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[1], '*',
      'kind', ARGV[i + 4], 'subject', ARGV[i + 3], 'detail', '')
  end
end
for i = 3 + 5 * n, #ARGV do
  redis.call('HDEL', KEYS[3], ARGV[i])
  redis.call('HDEL', KEYS[8], ARGV[i])
  redis.call('HDEL', KEYS[9], ARGV[i])
end
return gone
