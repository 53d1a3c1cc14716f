-- More of what a model wrote, in an event of any API.
local function has_output(s, from)
  return s:find('"delta"%s*:%s*{%s*"', from) or s:find('"delta"%s*:%s*"[^"]', from) or s:find('"text"%s*:%s*"[^"]', from)
end

-- Takes an answer piece by piece, wherever it is cut, and keeps the last usage object
-- with token counts in it: streams may report again and again, and of an answer that
-- breaks off what it had come to. Neither events nor objects are told apart: in what a
-- model wrote, the quotes of "usage" would be escaped. What shunt makes of the object is
-- its own affair. What a stream reported counts as old once more output has come without
-- another report: should it break off then, the report is not of all that was sent.
local function new_usage_reader(handle, stream)
  local held = "" -- the beginning of what may be one
  local last
  local old = false

  local function age(now)
    if now ~= old then
      old = now
      mark(handle, "usage_old", now)
    end
  end

  local function keep(object)
    if #object > USAGE_LIMIT or not object:find('_tokens"%s*:') then return false end
    object = object:gsub("[\r\n]+data:", " ") -- over several lines of an event
    if object ~= last then
      last = object
      mark(handle, "usage", object)
    end
    return true
  end

  return function(data)
    local s = held == "" and data or held .. data
    local at, kept = s:find('"usage"', 1, true), nil -- kept: where the last one ended
    while at do
      local object, stop = s:match('^"usage"%s*:%s*(%b{})()', at)
      if object then
        kept = keep(object) and stop or kept
      elseif #s - at <= USAGE_LIMIT and (s:find('^"usage"%s*:?%s*$', at) or s:find('^"usage"%s*:%s*{', at)) then
        held = s:sub(at)
        return
      end
      at = s:find('"usage"', stop or at + 7, true)
    end
    held = s:sub(-6):match('"[usage]*$') or ""
    if stream and last then
      local from = kept and (s:find("\ndata:", kept, true) or #s) or 1
      if has_output(s, from) then age(true) elseif kept then age(false) end
    end
  end
end
