#!lua
-- registry_set: settings that hold for the whole cluster, changed together.
-- KEYS  1 beginning of the registry's keys
-- ARGV  1 event detail   2.. name, value, the next two ...; "" removes
-- ->    id of a change by which a reader sees them
--@include registry
local changed = 0
for i = 2, #ARGV, 2 do
  local name, value = ARGV[i], ARGV[i + 1]
  if value == '' then
    changed = changed + redis.call('HDEL', SETTINGS, name)
  elseif redis.call('HGET', SETTINGS, name) ~= value then
    redis.call('HSET', SETTINGS, name, value)
    changed = changed + 1
  end
end
return changed > 0 and note_change('settings.changed', '', ARGV[1]) or latest_change()
