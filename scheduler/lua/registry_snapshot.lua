#!lua flags=no-writes
-- registry_snapshot: everything that the registry knows, at one moment.
-- KEYS  1 versions   2 placements   3 nodes   4 workers   5 gateways   6 schedulers   7 signatures
--       8 retiring   9 since   10 wishes   11 answers   12 files   13 settings (hashes)
--       14 offers (set)   15 used   16 seen (zsets)   17 revision (string)   18 changes (stream)
-- ARGV  none
-- ->    {now (ms), revision, id of the latest change, the thirteen hashes as flat lists, offers,
--        used and seen as member, score, member, score ...}
local time = redis.call('TIME')
local latest = redis.call('XREVRANGE', KEYS[18], '+', '-', 'COUNT', 1)[1]
local answer = {
  time[1] * 1000 + math.floor(time[2] / 1000),
  tonumber(redis.call('GET', KEYS[17]) or 0),
  latest and latest[1] or '0-0',
}
for hash = 1, 13 do
  answer[3 + hash] = redis.call('HGETALL', KEYS[hash])
end
answer[17] = redis.call('SMEMBERS', KEYS[14])
answer[18] = redis.call('ZRANGE', KEYS[15], 0, -1, 'WITHSCORES')
answer[19] = redis.call('ZRANGE', KEYS[16], 0, -1, 'WITHSCORES')
return answer
