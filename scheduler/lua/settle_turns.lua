#!lua flags=allow-oom
-- settle_turns: as settle, for requests of sequences: what each made of its sequence's state is
-- kept in the same step that ends it, and the next request of the sequence has its turn.
-- KEYS  1 lease zset  2 deadline zset  3 volume hash  4 statistics of the model version
--       families: 5 jobs  6 ended  7 replies  8 statistics  9 sequences  10 turns  11 slots
--       12 backlogs  and 13 the idle zset
-- ARGV  1 token  2 rows of the batch, 0 when nothing was computed  3 nanoseconds of input
--       4 of compute  5 of output  then for each job: id, code, message, reply, the state after it
-- ->    for each job: 1 settled (now or by an earlier call with this token) | 2 it had been
--       cancelled | 0 lease lost: another worker owns the job now
--@include version_of
--@include share
--@include end_job
--@include ended_by
--@include totals
--@include step
--@include count
--@include ring
--@include score
--@include sequence
--@include settle_job
F.stats, F.sequences, F.turns, F.slots = KEYS[8], KEYS[9], KEYS[10], KEYS[11]
F.backlogs, F.idle = KEYS[12], KEYS[13]

local answer = {}
for i = 6, #ARGV, 5 do
  local id, code = ARGV[i], ARGV[i + 1]
  local sequence = redis.call('HGET', F.jobs .. id, 'sequence')
  local settled = settle(id, code, ARGV[i + 2], ARGV[i + 3])
  if sequence and settled > 0 then
    turn_ended(F, sequence, id, settled == 1 and code == '0', ARGV[i + 4])
  end
  answer[#answer + 1] = settled
end
flush_settled()
return answer
