#!lua flags=no-writes
-- registry_snapshot: everything that the registry knows, at one moment.
-- KEYS  1 versions   2 placements   3 nodes   4 workers   5 gateways   6 schedulers   7 signatures
--       (hashes)   8 seen (zset)   9 revision (string)   10 changes (stream)
-- ARGV  none
-- ->    {now (ms), revision, id of the latest change, the seven hashes as flat lists, seen as
--        member, score, member, score ...}
local time = redis.call('TIME')
local latest = redis.call('XREVRANGE', KEYS[10], '+', '-', 'COUNT', 1)[1]
local answer = {
  time[1] * 1000 + math.floor(time[2] / 1000),
  tonumber(redis.call('GET', KEYS[9]) or 0),
  latest and latest[1] or '0-0',
}
for hash = 1, 7 do
  answer[3 + hash] = redis.call('HGETALL', KEYS[hash])
end
answer[11] = redis.call('ZRANGE', KEYS[8], 0, -1, 'WITHSCORES')
return answer
