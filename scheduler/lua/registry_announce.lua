#!lua
-- registry_announce: a process says that it lives, and what it is.
-- KEYS  1 beginning of the registry's keys
-- ARGV  1 where records of its kind are: 'nodes', 'workers', 'gateways', 'schedulers'  2 id
--       3 record   4 silence (ms)   5 event kind   6 event detail   7 schema of its software
--       8 field of what is known of its artifact, or ""   9 signature   10 batch proof, or ""
--       11 why its batches cannot be split, or ""  12 kind of its device  13 bytes that it holds of it
--       14 processor, runtime and threads  15 how a lost cache comes back with them, or ""
-- ->    {1 something changed: recorded, readers are told | 0 only the time it was seen,
--        the batch proof that stands or "", why batches of the artifact cannot be split or ""}
--
-- Of a batch proof the first one stands, and so does the first batch that could not be split: all
-- who complete a model's configuration come to the same one, and it does not change to and fro.
--@include registry
local records, id, record, silence, artifact = KEYS[1] .. ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[8]
local member = ARGV[1] .. '/' .. id

note_gap(silence)
local seen = redis.call('ZSCORE', SEEN, member)
redis.call('ZADD', SEEN, now_ms, member)
redis.call('ZADD', SCHEMAS, now_ms, ARGV[7])
local changed = redis.call('HGET', records, id) ~= record or not seen or now_ms - tonumber(seen) > silence
if changed then
  redis.call('HSET', records, id, record)
end
if artifact ~= '' and redis.call('HGET', SIGNATURES, artifact) ~= ARGV[9] then
  redis.call('HSET', SIGNATURES, artifact, ARGV[9])
  changed = true
end

-- Put what nobody found before; what stands then.
local function put_first(key, found)
  if artifact == '' then
    return ''
  elseif found ~= '' and redis.call('HSETNX', key, artifact, found) == 1 then
    changed = true
  end
  return redis.call('HGET', key, artifact) or ''
end

local footprint = artifact .. '@' .. (ARGV[12] or '')
if artifact ~= '' and tonumber(ARGV[13] or 0) > tonumber(redis.call('HGET', FOOTPRINTS, footprint) or 0) then
  redis.call('HSET', FOOTPRINTS, footprint, ARGV[13])
  changed = true
end

local place = artifact .. '@' .. (ARGV[14] or '')
if artifact ~= '' and (ARGV[15] or '') ~= '' and redis.call('HSETNX', REBUILDS, place, ARGV[15]) == 1 then
  changed = true
end

local proof, unsplittable = put_first(BATCH_PROOFS, ARGV[10]), put_first(UNSPLITTABLE, ARGV[11])
if changed then
  note_change(ARGV[5], id, ARGV[6])
end
return {changed and 1 or 0, proof, unsplittable}
