#!lua
-- registry_load_request: somebody wants a model loaded or unloaded; the latest load request counts.
-- KEYS  1 beginning of the registry's keys
-- ARGV  1 model   2 load request   3 event kind   4 event detail
--       5 the load request that it replaces, "" for none, "*" for any
--       6.. digest and bytes of each file
-- ->    1 it stands | 0 another load request does | -n the content of the n-th file is not there
--
-- The contents stay from now on, until `registry_forget` is told that nobody needs them.
--@include registry
local before = redis.call('HGET', WISHES, ARGV[1]) or ''
if before == ARGV[2] then
  return 1
end
if ARGV[5] ~= '*' and ARGV[5] ~= before then
  return 0
end
for i = 6, #ARGV, 2 do
  if redis.call('STRLEN', CONTENT .. ARGV[i]) ~= tonumber(ARGV[i + 1]) then
    return 2 - i / 2
  end
end
for i = 6, #ARGV, 2 do
  redis.call('PERSIST', CONTENT .. ARGV[i])
  redis.call('HSET', FILES, ARGV[i], ARGV[i + 1] .. ' ' .. time[1] .. '.' .. time[2])
end
redis.call('HSET', WISHES, ARGV[1], ARGV[2])
note_change(ARGV[3], ARGV[1], ARGV[4])
return 1
