#!lua
-- chunk: add one part to a streamed reply, in order, each once.
-- KEYS  1 beginning of the partition's keys
-- ARGV  1 token  2 the model version  3 id of the job  4 index of the part, from 1  5 digest of the
--       reply so far  6 most parts, and 7 most bytes, that its gateway may still have to pass on
--       8 the part  9 nanoseconds of its compute  10 of its output
-- ->    1 it is there (now, by an earlier call, or from a worker before) | 2 cancelled
--       0 lease lost | 3 full: ask again later | 4 it is not what a worker before had made of it
--       5 the part before it is not there
-- A worker that takes over makes the reply anew. What is there already is passed on only once, and
-- must be the same: digests are compared at the last part that is there.
-- No flags: a server whose memory is full refuses this before it starts.
--@include job
--@include reply
local version, index, digest, part = ARGV[2], tonumber(ARGV[4]), ARGV[5], ARGV[8]
local j = job_reader({'chunks', 'chunk_bytes', 'taken', 'taken_bytes'}, 'state', 'token', 'cancelled',
  'gateway', 'chunk_digest')(ARGV[3])
if not is_held(j, ARGV[1]) then
  return 0
elseif j.cancelled then
  return 2
elseif index < j.chunks then
  return 1
elseif index == j.chunks then
  return j.chunk_digest == digest and 1 or 4
elseif index > j.chunks + 1 then
  return 5
end
local ahead, ahead_bytes = j.chunks - j.taken, j.chunk_bytes - j.taken_bytes
if ahead >= tonumber(ARGV[6]) or (ahead > 0 and ahead_bytes >= tonumber(ARGV[7])) then
  return 3
end
write(j.id, 'chunks', index, 'chunk_digest', digest, 'chunk_bytes', j.chunk_bytes + #part)
send(j.gateway, {'chunk', j.id, 'index', index, 'digest', digest, 'body', part})
count_response(version, index - 1, 'success_count', 1)
count_response(version, index - 1, 'compute_infer_ns', ARGV[9])
count_response(version, index - 1, 'compute_output_ns', ARGV[10])
return 1
