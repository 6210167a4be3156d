#!lua flags=allow-oom
-- take: a gateway has passed on so much of a streamed reply; the worker may make as much more.
-- KEYS  1 job hash
-- ARGV  1 parts passed on  2 their bytes, both since the reply began
-- ->    1 noted | 0 the job is not live, or more was noted before
local v = redis.call('HMGET', KEYS[1], 'state', 'taken')
if not v[1] or tonumber(v[2] or 0) > tonumber(ARGV[1]) then
  return 0
end
redis.call('HSET', KEYS[1], 'taken', ARGV[1], 'taken_bytes', ARGV[2])
return 1
