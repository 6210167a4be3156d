#!lua
-- registry_audit: one more entry of the audit log, behind the one that its writer knew as the last.
-- KEYS  1 beginning of the registry's keys
-- ARGV  1 hash of the last entry, "" for none   2 hash of this one   3 entries kept
--       4.. further fields: name, value, the next two ...
-- ->    1 it is there | 0 another entry came before: look again
--@include registry
local last = redis.call('XREVRANGE', AUDIT, '+', '-', 'COUNT', 1)[1]
local fields, hash = last and last[2] or {}, ''
for i = 1, #fields, 2 do
  if fields[i] == 'hash' then
    hash = fields[i + 1]
  end
end
if hash == ARGV[2] then
  return 1
end
if hash ~= ARGV[1] then
  return 0
end
redis.call('XADD', AUDIT, 'MAXLEN', '~', ARGV[3], '*', 'before', ARGV[1], 'hash', ARGV[2],
  unpack(ARGV, 4))
return 1
