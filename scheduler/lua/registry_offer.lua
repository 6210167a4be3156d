#!lua
-- registry_offer: the models that can be wished for, replaced as a whole.
-- KEYS  1 offers (set)   2 changes (stream)
-- ARGV  1 changes kept   2.. names
-- ->    number of names added or removed
local offered, count = {}, 0
for i = 2, #ARGV do
  offered[ARGV[i]] = true
  count = count + redis.call('SADD', KEYS[1], ARGV[i])
end
for _, name in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  if not offered[name] then
    count = count + redis.call('SREM', KEYS[1], name)
  end
end
if count > 0 then
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[1], '*',
    'kind', 'repository.changed', 'subject', '', 'detail', '')
end
return count
