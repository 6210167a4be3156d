#!lua flags=no-writes
-- registry_snapshot: everything that the registry knows, at one moment.
-- KEYS  1 beginning of the registry's keys
-- ARGV  1 id of the latest change that the reader knows, or ""   2 id of the offers that it knows, or ""
--       3 of the uses that it knows, or ""   4 how many it knows to live, if nothing has changed
--       5.. the hashes that are wanted
-- ->    {now (ms), revision, id of the latest change, the hashes as flat lists, offers, their id,
--        id of the uses, used and seen as member, score, member, score ...}; without the hashes and the
--        offers where nothing has changed, and false for what the reader knows: there may be thousands
--@include registry
local answer = {now_ms, tonumber(redis.call('GET', REVISION) or 0), latest_change()}
local changed = ARGV[1] ~= answer[3]
if changed then
  for i = 5, #ARGV do
    answer[#answer + 1] = redis.call('HGETALL', KEYS[1] .. ARGV[i])
  end
  local offered = redis.call('GET', OFFERED) or ''
  local known = offered ~= '' and offered == ARGV[2]
  answer[#answer + 1] = not known and redis.call('SMEMBERS', OFFERS)
  answer[#answer + 1] = offered
end

-- Whether those who live are those whom the reader knows: nobody comes, or comes back, without a
-- change, so that they are the same where they are as many. A gap says of itself who lives.
local latest = redis.call('ZREVRANGE', SEEN, 0, 0, 'WITHSCORES')
local gap_ended = tonumber(redis.call('ZSCORE', SEEN, 'gap/until') or 0)
local live_as_before = not changed and latest[2] and now_ms - gap_ended > RETURN_MS
  and redis.call('ZCOUNT', SEEN, latest[2] - LIVE_MS, '+inf') == tonumber(ARGV[4])
local uses = redis.call('GET', USES) or ''
answer[#answer + 1] = uses
answer[#answer + 1] = (uses == '' or uses ~= ARGV[3]) and redis.call('ZRANGE', USED, 0, -1, 'WITHSCORES')
answer[#answer + 1] = not live_as_before and redis.call('ZRANGE', SEEN, 0, -1, 'WITHSCORES')
return answer
