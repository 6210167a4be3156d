#!lua
-- registry_keep: write a piece of a content that comes with a load request.
-- KEYS  1 beginning of the registry's keys
-- ARGV  1 digest of the content   2 where the piece begins   3 piece
--       4 ms after which it goes if no load request for it comes
-- ->    bytes that are there
--
-- One that a load request needs stays as it is: the piece is the same, and it has no life time.
-- No flags: a server whose memory is full refuses this before it starts.
--@include registry
local content = CONTENT .. ARGV[1]
local needed = redis.call('PTTL', content) == -1
local bytes = redis.call('SETRANGE', content, ARGV[2], ARGV[3])
if not needed then
  redis.call('PEXPIRE', content, ARGV[4])
end
return bytes
