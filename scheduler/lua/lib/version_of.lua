-- version_of: the model version that a queue belongs to:
-- '<model>:<version>' of '<model>:<version>:<stage>', of '<model>:<version>:<stage>~<generation>',
-- and of either with '@<worker>' after it, when it is pinned to a worker.
local function version_of(queue)
  return string.match(queue, '^(.*):%d+$') or string.match(queue, '^(.*):%d+~')
    or string.match(queue, '^(.*):%d+@')
end
