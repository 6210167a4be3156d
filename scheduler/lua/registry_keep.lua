#!lua
-- registry_keep: write a piece of a content that comes with a wish.
-- KEYS  1 the content (string)
-- ARGV  1 where the piece begins   2 piece   3 ms after which it goes if no wish for it comes
-- ->    bytes that are there
--
-- One that a wish needs stays as it is: the piece is the same, and it has no life time.
-- No flags: a server whose memory is full refuses this before it starts.
local needed = redis.call('PTTL', KEYS[1]) == -1
local bytes = redis.call('SETRANGE', KEYS[1], ARGV[1], ARGV[2])
if not needed then
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
return bytes
