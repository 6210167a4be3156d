#!lua flags=allow-oom
-- registry_forget: facts go that nobody needs any more, each if it is as its caller saw it.
-- KEYS  1 beginning of the registry's keys
-- ARGV  for each: 'process', '<records>/<id>', when it was last seen (ms; '' for any), kind of event
--              or 'retiring', field, since when, kind of event
--              or 'wish', model, the load request, ''
--              or 'file', digest, what `files` has of it, ''
--              or 'artifact', field of what is known of it, '', ''
-- ->    how many went, but for artifacts
--@include registry
local forget = {}

function forget.process(member, seen_ms)
  local seen = redis.call('ZSCORE', SEEN, member)
  if seen and seen_ms ~= '' and tonumber(seen) > tonumber(seen_ms) then
    return 0
  end
  local records, id = string.match(member, '^(%a+)/(.*)$')
  redis.call('ZREM', SEEN, member)
  return redis.call('HDEL', KEYS[1] .. records, id), id
end

function forget.retiring(field, since_ms)
  if redis.call('HGET', SINCE, field) ~= since_ms or redis.call('HDEL', RETIRING, field) == 0 then
    return 0
  end
  return redis.call('HDEL', SINCE, field), field
end

function forget.wish(model, wish)
  if redis.call('HGET', WISHES, model) ~= wish then
    return 0
  end
  redis.call('HDEL', ANSWERS, model)
  redis.call('ZREM', USED, model)
  return redis.call('HDEL', WISHES, model)
end

function forget.file(digest, bytes)
  if redis.call('HGET', FILES, digest) ~= bytes then
    return 0
  end
  redis.call('DEL', CONTENT .. digest)
  return redis.call('HDEL', FILES, digest)
end

function forget.artifact(field)
  for _, known in ipairs({SIGNATURES, BATCH_PROOFS, UNSPLITTABLE}) do
    redis.call('HDEL', known, field)
  end
  redis.call('HDEL', FOOTPRINTS, field .. '@cpu', field .. '@cuda')
  for _, place in ipairs(redis.call('HKEYS', REBUILDS)) do
    if string.sub(place, 1, #field + 1) == field .. '@' then
      redis.call('HDEL', REBUILDS, place)
    end
  end
  return 0
end

local gone = 0
for i = 1, #ARGV, 4 do
  local count, subject = forget[ARGV[i]](ARGV[i + 1], ARGV[i + 2])
  if count > 0 and ARGV[i + 3] ~= '' then
    note_change(ARGV[i + 3], subject)
  end
  gone = gone + count
end
return gone
