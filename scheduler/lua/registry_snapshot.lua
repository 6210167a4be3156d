#!lua flags=no-writes
-- registry_snapshot: everything that the registry knows, at one moment.
-- KEYS  1 beginning of the registry's keys
-- ARGV  1 id of the latest change that the reader knows, or ""   2 id of the offers that it knows, or ""
--       3.. the hashes that are wanted
-- ->    {now (ms), revision, id of the latest change, the hashes as flat lists, offers, their id,
--        used and seen as member, score, member, score ...}; without the hashes and the offers
--        where nothing has changed, and false for the offers that the reader knows: there may be thousands
--@include registry
local answer = {now_ms, tonumber(redis.call('GET', REVISION) or 0), latest_change()}
if ARGV[1] ~= answer[3] then
  for i = 3, #ARGV do
    answer[#answer + 1] = redis.call('HGETALL', KEYS[1] .. ARGV[i])
  end
  local offered = redis.call('GET', OFFERED) or ''
  local known = offered ~= '' and offered == ARGV[2]
  answer[#answer + 1] = not known and redis.call('SMEMBERS', OFFERS)
  answer[#answer + 1] = offered
end
answer[#answer + 1] = redis.call('ZRANGE', USED, 0, -1, 'WITHSCORES')
answer[#answer + 1] = redis.call('ZRANGE', SEEN, 0, -1, 'WITHSCORES')
return answer
