-- replace_versions: the contents below some prefix of the versions' fields, replaced as a whole.
-- F: {versions, retiring, since, changes} keys; kept: number of changes kept
-- start: the prefix; who: for events; first: index in ARGV of
--       "<model>/<version>/<generation>", record, the next two ...
-- ->    number of contents added, changed or removed
--
-- What is no longer there retires: its workers stay until nobody waits for them (rollout.py).
-- `since` says for each content when it was published, or when it retired: they never mix, since
-- a content is in one of both hashes.
local function replace_versions(F, kept, source, start, first)
  local time = redis.call('TIME')
  local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
  local wanted, count = {}, 0

  local function tell(kind, field)
    redis.call('XADD', F.changes, 'MAXLEN', '~', kept, '*', 'kind', kind,
      'subject', string.match(string.sub(field, #source + 2), '^(.*)/[^/]*$'), 'detail', source)
    count = count + 1
  end

  for i = first, #ARGV, 2 do
    local field = source .. '/' .. ARGV[i]
    wanted[field] = true
    local before = redis.call('HGET', F.versions, field)
    if before ~= ARGV[i + 1] then
      redis.call('HSET', F.versions, field, ARGV[i + 1])
      tell('version.published', field)
    end
    if not before then
      redis.call('HDEL', F.retiring, field)
      redis.call('HSET', F.since, field, now)
    end
  end
  for _, field in ipairs(redis.call('HKEYS', F.versions)) do
    if string.sub(field, 1, #start) == start and not wanted[field] then
      if string.sub(field, -1) == '/' then
        -- It never had a content: there is nothing to end.
        redis.call('HDEL', F.since, field)
      else
        redis.call('HSET', F.retiring, field, redis.call('HGET', F.versions, field))
        redis.call('HSET', F.since, field, now)
      end
      redis.call('HDEL', F.versions, field)
      tell('version.removed', field)
    end
  end
  return count
end
