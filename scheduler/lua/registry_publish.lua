#!lua
-- registry_publish: the versions of one repository, replaced as a whole.
-- KEYS  1 versions (hash)   2 changes (stream)
-- ARGV  1 source, the repository's name   2 changes kept   3.. "<model>/<version>", record ...
-- ->    number of versions added, changed or removed
--
-- A field of the hash is "<source>/<model>/<version>", so that one source never removes another's.
local start = ARGV[1] .. '/'
local kept, count = {}, 0

local function tell(kind, subject)
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[2], '*',
    'kind', kind, 'subject', subject, 'detail', ARGV[1])
  count = count + 1
end

for i = 3, #ARGV, 2 do
  local field = start .. ARGV[i]
  kept[field] = true
  if redis.call('HGET', KEYS[1], field) ~= ARGV[i + 1] then
    redis.call('HSET', KEYS[1], field, ARGV[i + 1])
    tell('version.published', ARGV[i])
  end
end
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.sub(field, 1, #start) == start and not kept[field] then
    redis.call('HDEL', KEYS[1], field)
    tell('version.removed', string.sub(field, #start + 1))
  end
end
return count
