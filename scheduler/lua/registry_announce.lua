#!lua
-- registry_announce: a process says that it lives, and what it is.
-- KEYS  1 records of its kind (hash)   2 seen (zset)   3 changes (stream)   4 signatures (hash)
--       5 schemas (zset)   6 batch proofs   7 unsplittable (hashes)
-- ARGV  1 member of seen, "<records>/<id>"   2 id   3 record   4 silence (ms)   5 changes kept
--       6 event kind   7 event detail   8 signature's field, or ""   9 signature
--       10 schema of its software   11 batch proof, or ""   12 why its batches cannot be split,
--       or ""
-- ->    {1 something changed: recorded, readers are told | 0 only the time it was seen,
--        the batch proof that stands or "", why batches of the artifact cannot be split or ""}
--
-- Of a batch proof the first one stands, and so does the first batch that could not be split: all
-- who complete a model's configuration come to the same one, and it does not change to and fro.
-- When nobody was seen for longer than half the silence, Redis was away rather than everybody dead:
-- the gap is remembered, and readers do not count it (snapshot.py, `live`). Half of it: some had been
-- seen a moment before the gap, others up to a second before. One that follows another at once is one
-- with it: not all had come back between them.
-- As in snapshot.py.
local RETURN_MS, FORGIVEN_MS = 5000, 60000
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local silence = tonumber(ARGV[4])

local last = tonumber(redis.call('ZREVRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2])
if last and now - last > silence / 2 then
  local from = tonumber(redis.call('ZSCORE', KEYS[2], 'gap/from') or 0)
  local ended = tonumber(redis.call('ZSCORE', KEYS[2], 'gap/until') or 0)
  if last - ended > RETURN_MS or now - from > FORGIVEN_MS then
    from = last
  end
  redis.call('ZADD', KEYS[2], from, 'gap/from', now, 'gap/until')
end

local seen = redis.call('ZSCORE', KEYS[2], ARGV[1])
redis.call('ZADD', KEYS[2], now, ARGV[1])
redis.call('ZADD', KEYS[5], now, ARGV[10])
local changed = redis.call('HGET', KEYS[1], ARGV[2]) ~= ARGV[3]
  or not seen or now - tonumber(seen) > silence
if changed then
  redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
end
if ARGV[8] ~= '' and redis.call('HGET', KEYS[4], ARGV[8]) ~= ARGV[9] then
  redis.call('HSET', KEYS[4], ARGV[8], ARGV[9])
  changed = true
end
local stand = {'', ''}
if ARGV[8] ~= '' then
  for at = 1, 2 do
    if ARGV[10 + at] ~= '' and redis.call('HSETNX', KEYS[5 + at], ARGV[8], ARGV[10 + at]) == 1 then
      changed = true
    end
    stand[at] = redis.call('HGET', KEYS[5 + at], ARGV[8]) or ''
  end
end
if changed then
  redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[5], '*',
    'kind', ARGV[6], 'subject', ARGV[2], 'detail', ARGV[7])
end
return {changed and 1 or 0, stand[1], stand[2]}
