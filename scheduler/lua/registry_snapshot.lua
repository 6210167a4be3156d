#!lua flags=no-writes
-- registry_snapshot: everything that the registry knows, at one moment.
-- KEYS  1 versions   2 placements   3 nodes   4 workers   5 gateways   6 schedulers   7 signatures
--       8 batch proofs   9 unsplittable   10 retiring   11 since   12 wishes   13 answers
--       14 files   15 settings (hashes)   16 offers (set)   17 used   18 seen (zsets)
--       19 revision (string)   20 changes (stream)
-- ARGV  none
-- ->    {now (ms), revision, id of the latest change, the fifteen hashes as flat lists, offers,
--        used and seen as member, score, member, score ...}
local time = redis.call('TIME')
local latest = redis.call('XREVRANGE', KEYS[20], '+', '-', 'COUNT', 1)[1]
local answer = {
  time[1] * 1000 + math.floor(time[2] / 1000),
  tonumber(redis.call('GET', KEYS[19]) or 0),
  latest and latest[1] or '0-0',
}
for hash = 1, 15 do
  answer[3 + hash] = redis.call('HGETALL', KEYS[hash])
end
answer[19] = redis.call('SMEMBERS', KEYS[16])
answer[20] = redis.call('ZRANGE', KEYS[17], 0, -1, 'WITHSCORES')
answer[21] = redis.call('ZRANGE', KEYS[18], 0, -1, 'WITHSCORES')
return answer
