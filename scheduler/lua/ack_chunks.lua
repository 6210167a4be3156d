#!lua flags=allow-oom
-- ack_chunks: a gateway has passed on so much of a streamed reply; the worker may make as much more.
-- KEYS  1 beginning of the partition's keys
-- ARGV  1 id of the job  2 parts passed on  3 their bytes, both since the reply began
-- ->    1 noted | 0 the job is not live, or more was noted before
--@include job
local j = job_reader({'taken'}, 'state')(ARGV[1])
if not j.state or j.taken > tonumber(ARGV[2]) then
  return 0
end
write(j.id, 'taken', ARGV[2], 'taken_bytes', ARGV[3])
return 1
