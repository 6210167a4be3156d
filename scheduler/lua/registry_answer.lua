#!lua
-- registry_answer: what a wish for a model comes to: its versions, replaced as a whole.
-- KEYS  1 versions   2 retiring   3 since   4 wishes   5 answers (hashes)   6 changes (stream)
-- ARGV  1 source, the repository's name   2 changes kept   3 model
--       4 the wish, "" for none   5 answer, "" for none
--       6.. "<model>/<version>/<generation>", record ...
-- ->    number of contents added, changed or removed | nil: another wish stands, look again
--@include replace_versions
if (redis.call('HGET', KEYS[4], ARGV[3]) or '') ~= ARGV[4] then
  return false
end
local answered = redis.call('HGET', KEYS[5], ARGV[3]) or ''
if ARGV[5] ~= '' and answered ~= ARGV[5] then
  redis.call('HSET', KEYS[5], ARGV[3], ARGV[5])
  redis.call('XADD', KEYS[6], 'MAXLEN', '~', ARGV[2], '*',
    'kind', 'model.answered', 'subject', ARGV[3], 'detail', '')
end
local F = {versions = KEYS[1], retiring = KEYS[2], since = KEYS[3], changes = KEYS[6]}
return replace_versions(F, ARGV[2], ARGV[1], ARGV[1] .. '/' .. ARGV[3] .. '/', 6)
