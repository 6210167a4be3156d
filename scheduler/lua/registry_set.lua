#!lua
-- registry_set: settings that hold for the whole cluster, changed together.
-- KEYS  1 settings (hash)   2 changes (stream)
-- ARGV  1 changes kept   2 event detail   3.. name, value, the next two ...; "" removes
-- ->    id of a change by which a reader sees them
local changed = 0
for i = 3, #ARGV, 2 do
  local name, value = ARGV[i], ARGV[i + 1]
  if value == '' then
    changed = changed + redis.call('HDEL', KEYS[1], name)
  elseif redis.call('HGET', KEYS[1], name) ~= value then
    redis.call('HSET', KEYS[1], name, value)
    changed = changed + 1
  end
end
if changed > 0 then
  return redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[1], '*',
    'kind', 'settings.changed', 'subject', '', 'detail', ARGV[2])
end
local latest = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
return latest and latest[1] or '0-0'
