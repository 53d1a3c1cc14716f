-- More of what a model wrote, in an event of any API.
local function has_output(s, from)
  return s:find('"delta"%s*:%s*{%s*"', from) or s:find('"delta"%s*:%s*"[^"]', from) or s:find('"text"%s*:%s*"[^"]', from)
end

-- Takes an answer piece by piece, wherever it is cut, and keeps the last usage object
-- with token counts in it: streams may report again and again, and of an answer that
-- breaks off what it had come to. Events are not told apart, and objects only behind a
-- report: deeper in the object that has it are others of its parts (usage_breakdown). In
-- what a model wrote, the quotes of "usage" would be escaped. What shunt makes of the
-- object is its own affair. What a stream reported counts as old once more output has
-- come without another report: should it break off then, the report is not of all that
-- was sent. A response reports once, at its end: what stood before its output was a part
-- of the request that the provider repeats.
local function new_usage_reader(handle, stream)
  local held = "" -- the beginning of what may be one
  local last
  local old = false
  local inside -- how deep in the object with the last report; nil: behind it

  local function age(now)
    if now ~= old then
      old = now
      mark(handle, "usage_old", now)
    end
  end

  local function keep(object)
    if #object > USAGE_LIMIT or not object:find('_tokens"%s*:') then return false end
    object = object:gsub("[\r\n]+data:", " ") -- over several lines of an event
    object = object:gsub("[^\32-\126]", " ") -- the access log's protobuf takes UTF-8 alone
    if object ~= last then
      last = object
      mark(handle, "usage", object)
    end
    return true
  end

  -- Goes on from one place to before another. A string that is cut is the end of it.
  local function follow(s, i, stop)
    while inside do
      i = s:find('["{}%[%]]', i)
      if not i or i >= stop then return end
      local c = s:byte(i)
      if c == 34 then
        i = string_end(s, i)
        if not i or i >= stop then inside = nil; return end
      elseif c == 123 or c == 91 then
        inside = inside + 1
      else
        inside = inside > 0 and inside - 1 or nil
      end
      i = i + 1
    end
  end

  return function(data)
    local s = held == "" and data or held .. data
    local at, from, kept = s:find('"usage"', 1, true), 1, nil -- kept: where the last one ended
    while at do
      follow(s, from, at)
      from = at
      local open, object, stop = s:match('^"usage"%s*:%s*()(%b{})()', at)
      if object then
        -- Braces in strings mislead %b, which is there for its speed.
        local last_byte = value_end(object, 1)
        stop = last_byte and open + last_byte or stop
        from = stop
        if not last_byte then
          inside = nil
        elseif (not inside or inside == 0) and keep(object:sub(1, last_byte)) then
          kept, inside = stop, 0
        end
      elseif #s - at <= USAGE_LIMIT and (s:find('^"usage"%s*:?%s*$', at) or s:find('^"usage"%s*:%s*{', at)) then
        held = s:sub(at)
        return
      end
      at = s:find('"usage"', stop or at + 7, true)
    end
    held = s:sub(-6):match('"[usage]*$') or ""
    follow(s, from, #s + 1 - #held)
    if stream and last then
      from = kept and (s:find("\ndata:", kept, true) or #s) or 1
      if not has_output(s, from) then
        if kept then age(false) end
      elseif s:find('"delta"%s*:%s*"', from) then
        last = nil
        mark(handle, "usage", "")
      else
        age(true)
      end
    end
  end
end
