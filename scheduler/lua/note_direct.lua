#!lua flags=allow-oom
-- note_direct: count jobs that their gateways handed to the worker itself, once.
-- KEYS  1 statistics of the model version  2 the number of the worker's last note
-- ARGV  1 number of the note, larger than those before  2 jobs
--       3 to 11 successes, nanoseconds of them; failures, nanoseconds of them; of the successes
--       nanoseconds in queues, of input, of compute, of output, and their rows
--       then for batches of so many rows each: rows, how many, nanoseconds of input, compute, output
-- ->    1 counted | 0 counted before
--@include totals
local RECORD_MS = 60000
local number = tonumber(ARGV[1])
if number <= tonumber(redis.call('GET', KEYS[2]) or 0) then
  return 0
end
redis.call('SET', KEYS[2], ARGV[1], 'PX', RECORD_MS)
local more, batches = no_totals(), {}
for i = SUCCESS, INFERENCES do
  more[i] = tonumber(ARGV[i + 2])
end
for i = 12, #ARGV, 5 do
  batches[#batches + 1] = {ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2]),
    tonumber(ARGV[i + 3]), tonumber(ARGV[i + 4])}
end
local time = redis.call('TIME')
add_batches(KEYS[1], more, batches, time[1] * 1000000 + time[2])
redis.call('HINCRBY', KEYS[1], 'direct', ARGV[2])
return 1
