#!lua
-- chunk: add one part to a streamed reply, in order, each once.
-- KEYS  1 job hash  2 family of replies  3 statistics of the model version
-- ARGV  1 token  2 id of the job  3 index of the part, from 1  4 digest of the reply so far
--       5 most parts, and 6 most bytes, that its gateway may still have to pass on  7 the part
--       8 nanoseconds of its compute  9 of its output
-- ->    1 it is there (now, by an earlier call, or from a worker before) | 2 cancelled
--       0 lease lost | 3 full: ask again later | 4 it is not what a worker before had made of it
--       5 the part before it is not there
-- A worker that takes over makes the reply anew. What is there already is passed on only once, and
-- must be the same: digests are compared at the last part that is there.
-- No flags: a server whose memory is full refuses this before it starts.
--@include count_response
local REPLIES_MS = 120000
local index = tonumber(ARGV[3])
local v = redis.call('HMGET', KEYS[1], 'state', 'token', 'cancelled', 'gateway', 'chunks',
  'chunk_digest', 'chunk_bytes', 'taken', 'taken_bytes')
if v[1] ~= 'leased' or v[2] ~= ARGV[1] then
  return 0
end
if v[3] then
  return 2
end
local there, bytes = tonumber(v[5] or 0), tonumber(v[7] or 0)
if index < there then
  return 1
elseif index == there then
  return v[6] == ARGV[4] and 1 or 4
elseif index > there + 1 then
  return 5
end
local ahead, ahead_bytes = there - tonumber(v[8] or 0), bytes - tonumber(v[9] or 0)
if ahead >= tonumber(ARGV[5]) or (ahead > 0 and ahead_bytes >= tonumber(ARGV[6])) then
  return 3
end
local stream = KEYS[2] .. v[4]
redis.call('HSET', KEYS[1], 'chunks', index, 'chunk_digest', ARGV[4], 'chunk_bytes',
  string.format('%.0f', bytes + #ARGV[7]))
redis.call('XADD', stream, '*', 'chunk', ARGV[2], 'index', index, 'digest', ARGV[4], 'body', ARGV[7])
redis.call('PEXPIRE', stream, REPLIES_MS)
count_response(KEYS[3], index - 1, 'success_count', 1)
count_response(KEYS[3], index - 1, 'compute_infer_ns', ARGV[8])
count_response(KEYS[3], index - 1, 'compute_output_ns', ARGV[9])
return 1
