-- ended_by: what a repeated call hears about a job that is final:
-- 1 this token ended it | 2 this token ended it, and it had been cancelled | 0 neither
local function ended_by(F, id, token)
  local state, by = string.match(redis.call('GET', F.ended .. id) or '', '^(%S+) (.*)$')
  if by ~= token then
    return 0
  end
  return state == 'cancelled' and 2 or 1
end
