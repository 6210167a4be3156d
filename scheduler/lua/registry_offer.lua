#!lua
-- registry_offer: the models that can be requested, replaced as a whole.
-- KEYS  1 beginning of the registry's keys
-- ARGV  the names
-- ->    number of names added or removed
--@include registry
local offered, count = {}, 0
for i = 1, #ARGV do
  offered[ARGV[i]] = true
  count = count + redis.call('SADD', OFFERS, ARGV[i])
end
for _, name in ipairs(redis.call('SMEMBERS', OFFERS)) do
  if not offered[name] then
    count = count + redis.call('SREM', OFFERS, name)
  end
end
if count > 0 then
  redis.call('SET', OFFERED, note_change('repository.changed', ''))
end
return count
