#!lua
-- registry_publish: the versions of one repository, replaced as a whole.
-- KEYS  1 versions   2 retiring   3 since (hashes)   4 changes (stream)
-- ARGV  1 source, the repository's name   2 changes kept
--       3.. "<model>/<version>/<generation>", record ...
-- ->    number of contents added, changed or removed
--
-- A field of the hashes is "<source>/<model>/<version>/<generation>", so that one source never
-- removes another's, and the old content of a version stands beside the new.
--@include replace_versions
local F = {versions = KEYS[1], retiring = KEYS[2], since = KEYS[3], changes = KEYS[4]}
return replace_versions(F, ARGV[2], ARGV[1], ARGV[1] .. '/', 3)
