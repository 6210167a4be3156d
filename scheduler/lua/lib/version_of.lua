-- version_of: the model version that a queue belongs to, shared or pinned to a worker:
-- '<model>:<version>' of '<model>:<version>:<stage>' and of '<model>:<version>:<stage>@<worker>'.
local function version_of(queue)
  return string.match(queue, '^(.*):%d+$') or string.match(queue, '^(.*):%d+@')
end
