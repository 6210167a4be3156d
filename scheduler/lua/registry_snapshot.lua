#!lua flags=no-writes
-- registry_snapshot: everything that the registry knows, at one moment.
-- KEYS  1 beginning of the registry's keys
-- ARGV  the hashes that are wanted
-- ->    {now (ms), revision, id of the latest change, the hashes as flat lists, offers,
--        used and seen as member, score, member, score ...}
--@include registry
local answer = {now_ms, tonumber(redis.call('GET', REVISION) or 0), latest_change()}
for _, hash in ipairs(ARGV) do
  answer[#answer + 1] = redis.call('HGETALL', KEYS[1] .. hash)
end
answer[#answer + 1] = redis.call('SMEMBERS', OFFERS)
answer[#answer + 1] = redis.call('ZRANGE', USED, 0, -1, 'WITHSCORES')
answer[#answer + 1] = redis.call('ZRANGE', SEEN, 0, -1, 'WITHSCORES')
return answer
