-- ended_by: what a repeated call hears about a job that is final:
-- 1 this token ended it | 2 this token ended it, and it had been cancelled | 0 neither;
-- and whether this token had moved it to the stage in which another one settled it
local function ended_by(F, id, token)
  local mark = redis.call('GET', F.ended .. id) or ''
  local state, by, moved_by = string.match(mark, '^(%S+) (%S*) ?(.*)$')
  if by ~= token then
    return 0, moved_by == token
  end
  return state == 'cancelled' and 2 or 1, false
end
