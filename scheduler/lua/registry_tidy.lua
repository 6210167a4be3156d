#!lua flags=allow-oom
-- registry_tidy: forget wishes for models that are gone, and contents that nobody needs.
-- KEYS  1 wishes   2 answers   3 files (hashes)   4 used (zset)
--       family: 5 contents
-- ARGV  1 number n of wishes   2.. n times: model, its wish
--       after that, for each content: digest, what `files` has of it
-- ->    number of wishes and contents forgotten
--
-- What was wished for again since the caller looked stays.
local gone, n = 0, tonumber(ARGV[1])
for i = 2, 1 + 2 * n, 2 do
  if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i + 1] then
    gone = gone + redis.call('HDEL', KEYS[1], ARGV[i])
    redis.call('HDEL', KEYS[2], ARGV[i])
    redis.call('ZREM', KEYS[4], ARGV[i])
  end
end
for i = 2 + 2 * n, #ARGV, 2 do
  if redis.call('HGET', KEYS[3], ARGV[i]) == ARGV[i + 1] then
    gone = gone + redis.call('HDEL', KEYS[3], ARGV[i])
    redis.call('DEL', KEYS[5] .. ARGV[i])
  end
end
return gone
