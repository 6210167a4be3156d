#!lua flags=allow-oom
-- note_direct: count jobs that their gateways handed to the worker itself, once.
-- KEYS  1 beginning of the partition's keys
-- ARGV  1 boot id of the worker  2 the model version
--       3 number of the note, larger than those before  4 jobs
--       5 to 13 successes, nanoseconds of them; failures, nanoseconds of them; of the successes
--       nanoseconds in queues, of input, of compute, of output, and their rows
--       14 callers, then for each: its name, and what it has had, as in lib/usage.lua
--       then buckets of the successes, and for each: 'request' or 'queue', its bound as in
--       lib/totals.lua, and how many
--       then for batches of so many rows each: rows, how many, nanoseconds of input, compute, output
-- ->    1 counted | 0 counted before
--@include totals
--@include usage
local RECORD_MS = 60000
local noted, number = KEYS[1] .. 'noted:' .. ARGV[1], tonumber(ARGV[3])
if number <= tonumber(redis.call('GET', noted) or 0) then
  return 0
end
redis.call('SET', noted, ARGV[3], 'PX', RECORD_MS)
local more, batches = no_totals(), {}
for i = SUCCESS, INFERENCES do
  more[i] = tonumber(ARGV[i + 4])
end
local at = 15
for _ = 1, tonumber(ARGV[14]) do
  local had = {}
  for i = 1, #NO_USE do
    had[i] = tonumber(ARGV[at + i])
  end
  use(ARGV[2], ARGV[at], had)
  at = at + 1 + #NO_USE
end
flush_usage()
local rest = at + 1 + 3 * tonumber(ARGV[at])
for i = at + 1, rest - 1, 3 do
  more[ARGV[i]][ARGV[i + 1]] = tonumber(ARGV[i + 2])
end
for i = rest, #ARGV, 5 do
  batches[#batches + 1] = {ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2]),
    tonumber(ARGV[i + 3]), tonumber(ARGV[i + 4])}
end
add_batches(ARGV[2], more, batches)
count_for(ARGV[2], 'direct', ARGV[4])
return 1
