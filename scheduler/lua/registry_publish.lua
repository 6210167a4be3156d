#!lua
-- registry_publish: the versions of one repository, or of one model of it, replaced as a whole.
-- KEYS  1 beginning of the registry's keys
-- ARGV  1 source, the repository's name   2 model, "" for all   3 the load request that this is the answer to,
--       "" for none   4 answer, "" for none   5.. "<model>/<version>/<revision id>", record ...
-- ->    number of revisions added, changed or removed | nil: another load request for the model stands, look again
--
-- A field of the hashes is "<source>/<model>/<version>/<revision id>", so that one source never
-- removes another's, and the old revision of a version stands beside the new.
-- What is no longer there retires: its workers stay until nobody waits for them (rollout.py).
-- `since` says for each revision when it was published, or when it retired: they never mix, since
-- a revision is in one of both hashes.
--@include registry
local source, model, answer = ARGV[1], ARGV[2], ARGV[4]
local start, wanted, count = source .. '/', {}, 0

local function note(kind, field)
  note_change(kind, string.match(string.sub(field, #source + 2), '^(.*)/[^/]*$'), source)
  count = count + 1
end

if model ~= '' then
  start = start .. model .. '/'
  if (redis.call('HGET', WISHES, model) or '') ~= ARGV[3] then
    return false
  end
  if answer ~= '' and redis.call('HGET', ANSWERS, model) ~= answer then
    redis.call('HSET', ANSWERS, model, answer)
    note_change('model.answered', model)
  end
end
for i = 5, #ARGV, 2 do
  local field = source .. '/' .. ARGV[i]
  wanted[field] = true
  local before = redis.call('HGET', VERSIONS, field)
  if before ~= ARGV[i + 1] then
    redis.call('HSET', VERSIONS, field, ARGV[i + 1])
    note('version.published', field)
  end
  if not before then
    redis.call('HDEL', RETIRING, field)
    redis.call('HSET', SINCE, field, now_ms)
  end
end
for _, field in ipairs(redis.call('HKEYS', VERSIONS)) do
  if string.sub(field, 1, #start) == start and not wanted[field] then
    if string.sub(field, -1) == '/' then
      -- It never had a revision: there is nothing to end.
      redis.call('HDEL', SINCE, field)
    else
      redis.call('HSET', RETIRING, field, redis.call('HGET', VERSIONS, field))
      redis.call('HSET', SINCE, field, now_ms)
    end
    redis.call('HDEL', VERSIONS, field)
    note('version.removed', field)
  end
end
return count
