-- version_of: the model version that a queue belongs to:
-- '<model>:<version>' of '<model>:<version>:<stage>' and of '<model>:<version>:<stage>~<generation>'.
local function version_of(queue)
  return string.match(queue, '^(.*):%d+$') or string.match(queue, '^(.*):%d+~')
end
