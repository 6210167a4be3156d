-- limit_bytes: count the payload of a job against the most bytes of its version, 0 for any.
-- F: {volume, jobs}  j: {queue}, whose share becomes j.limited
-- -> false when there is no room
local function limit_bytes(F, id, j, size, most_bytes)
  if most_bytes == 0 then
    return true
  end
  local version = version_of(j.queue)
  if tonumber(redis.call('HGET', F.volume, version) or 0) + size > most_bytes then
    return false
  end
  redis.call('HINCRBY', F.volume, version, size)
  redis.call('HSET', F.jobs .. id, 'limited', size)
  j.limited = size
  return true
end
