#!lua flags=allow-oom
-- conclude: an answer has ended before its job: a gateway found the text that ends it. All who wait
-- have it as it is, and it is kept; append.lua then cancels the job.
-- KEYS  1 beginning of the partition's keys
-- ARGV  1 the shared reply's name, '~answer/...'  2 its body  3 bytes of the log that the body has, or ""
--       where it need not have all
-- ->    2 nothing was done: the log has grown | 1 kept | 0 it had ended
--@include job
--@include share
local job = redis.call('HGET', REPLY .. ARGV[1], 'job')
if not job then
  return 0
end
if ARGV[3] ~= '' and redis.call('STRLEN', JOB .. job .. ':log') ~= tonumber(ARGV[3]) then
  return 2
end
share(job, ARGV[1], 0, '', ARGV[2])
flush_replies()
return 1
