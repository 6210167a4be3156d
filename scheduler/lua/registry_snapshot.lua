#!lua flags=no-writes
-- registry_snapshot: everything that the registry knows, at one moment.
-- KEYS  1 beginning of the registry's keys
-- ARGV  1 id of the latest change that the reader knows, or ""   2.. the hashes that are wanted
-- ->    {now (ms), revision, id of the latest change, the hashes as flat lists, offers,
--        used and seen as member, score, member, score ...}; without the hashes and the offers
--        where nothing has changed
--@include registry
local answer = {now_ms, tonumber(redis.call('GET', REVISION) or 0), latest_change()}
if ARGV[1] ~= answer[3] then
  for i = 2, #ARGV do
    answer[#answer + 1] = redis.call('HGETALL', KEYS[1] .. ARGV[i])
  end
  answer[#answer + 1] = redis.call('SMEMBERS', OFFERS)
end
answer[#answer + 1] = redis.call('ZRANGE', USED, 0, -1, 'WITHSCORES')
answer[#answer + 1] = redis.call('ZRANGE', SEEN, 0, -1, 'WITHSCORES')
return answer
