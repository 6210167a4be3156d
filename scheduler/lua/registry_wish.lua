#!lua
-- registry_wish: somebody wants a model loaded or unloaded; the latest wish counts.
-- KEYS  1 wishes   2 files (hashes)   3 changes (stream)   4.. content of each file (strings)
-- ARGV  1 model   2 wish   3 changes kept   4 event kind   5 event detail
--       6 the wish that it replaces, "" for none, "*" for any
--       7.. digest and bytes of each file
-- ->    1 it stands | 0 another wish does | -n the content of the n-th file is not there
--
-- The contents stay from now on, until `registry_tidy` finds that nobody needs them.
local before = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if before == ARGV[2] then
  return 1
end
if ARGV[6] ~= '*' and ARGV[6] ~= before then
  return 0
end
for i = 4, #KEYS do
  if redis.call('STRLEN', KEYS[i]) ~= tonumber(ARGV[2 * i]) then
    return 3 - i
  end
end
local time = redis.call('TIME')
for i = 4, #KEYS do
  redis.call('PERSIST', KEYS[i])
  redis.call('HSET', KEYS[2], ARGV[2 * i - 1], ARGV[2 * i] .. ' ' .. time[1] .. '.' .. time[2])
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[3], '*',
  'kind', ARGV[4], 'subject', ARGV[1], 'detail', ARGV[5])
return 1
