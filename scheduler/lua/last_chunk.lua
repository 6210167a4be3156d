#!lua flags=allow-oom
-- last_chunk: count how a streamed reply ended, once; whoever calls it ends the job right after.
-- KEYS  1 beginning of the partition's keys
-- ARGV  1 token  2 the model version  3 id of the job  4 parts that there were
--       5 'empty_response' (all is well) | 'fail' | 'cancel'
--       6 nanoseconds from the last part to the end
-- ->    1 counted (now or before) | 0 lease lost
--@include job
local j = job_reader({}, 'state', 'token', 'end_counted')(ARGV[3])
if not is_held(j, ARGV[1]) then
  return 0
end
if not j.end_counted then
  write(j.id, 'end_counted', '1')
  count_response(ARGV[2], tonumber(ARGV[4]), ARGV[5] .. '_count', 1)
  count_response(ARGV[2], tonumber(ARGV[4]), ARGV[5] .. '_ns', ARGV[6])
end
return 1
