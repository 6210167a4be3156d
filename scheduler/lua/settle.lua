#!lua flags=allow-oom
-- settle: end some jobs of one batch, each exactly once, each on its own.
-- KEYS  1 lease zset  2 deadline zset  3 volume hash  4 statistics of the model version
--       families: 5 jobs  6 ended  7 replies  8 statistics
-- ARGV  1 token  2 rows of the batch, 0 when nothing was computed  3 nanoseconds of input
--       4 of compute  5 of output  then for each job: id, code, message, reply
-- ->    for each job: 1 settled (now or by an earlier call with this token) | 2 it had been
--       cancelled | 0 lease lost: another worker owns the job now
--@include version_of
--@include share
--@include end_job
--@include ended_by
--@include totals
--@include step
--@include count
--@include settle_job
local answer = {}
for i = 6, #ARGV, 4 do
  answer[#answer + 1] = settle(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3])
end
flush_settled()
return answer
