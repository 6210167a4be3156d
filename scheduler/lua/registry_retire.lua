#!lua flags=allow-oom
-- registry_retire: forget contents that nobody needs any more; their workers then stop.
-- KEYS  1 retiring   2 since (hashes)   3 changes (stream)
-- ARGV  1 changes kept   2.. field of retiring, when the caller knew that it retired (ms) ...
-- ->    number of contents forgotten
--
-- One that came back and retired again since the caller looked stays.
local gone = 0
for i = 2, #ARGV, 2 do
  local field = ARGV[i]
  if redis.call('HGET', KEYS[2], field) == ARGV[i + 1] and redis.call('HDEL', KEYS[1], field) == 1 then
    redis.call('HDEL', KEYS[2], field)
    redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[1], '*',
      'kind', 'version.retired', 'subject', field, 'detail', '')
    gone = gone + 1
  end
end
return gone
