-- The last byte of the first event that ends at from or later: of its blank line.
local function event_end(s, from)
  local _, a = s:find("\n\n", from, true)
  local _, b = s:find("\n\r\n", from, true)
  if a and b then return math.min(a, b) end
  return a or b
end

-- What an event's data lines hold together, nil for none.
local function payload(event)
  local data = event:match("^data:([^\n]*)\r?\n?\r?\n?$") -- the usual: one line
  if data then return data end
  local lines = {}
  for line in event:gmatch("[^\r\n]+") do
    lines[#lines + 1] = line:match("^data:(.*)")
  end
  return lines[1] and table.concat(lines, "\n")
end

-- A usage chunk as shunt asked for it: a usage object, and no choices: an empty list, as
-- OpenAI has it, or none at all. An error that reports usage is not one.
local function is_usage_chunk(data, open)
  local _, u = member(data, open, '"usage"')
  if not u or data:byte(u) ~= 123 then return false end
  local _, c = member(data, open, '"choices"')
  return (not c or data:find("^%[%s*%]", c) ~= nil or data:find("^null", c) ~= nil) and not is_error(data, open)
end

local function is_error_event(event)
  if not event:find("error", 1, true) and not event:find("response.failed", 1, true) then return false end
  if event:find("^event:%s*error%s*\n") or event:find("\nevent:%s*error%s*\n") then return true end
  local data = payload(event)
  local open = data and data:match("^%s*(){")
  return open ~= nil and is_error(data, open)
end

-- Names the provider in an event that holds an object, or in the beginning of one.
local function name_event(event, text)
  local from = event:match("^" .. BOM .. "()") or 1
  while from do
    local open = event:match("^data:[ \t]*(){%s*%S", from)
    if open then return insert(event, open, text), true end
    from = event:match("^[^\n]*\n()", from)
  end
  return event, false
end

-- The editor of one stream. An event is edited when it is whole. Nothing is held back
-- where nothing is left to edit.
local function new_editor(handle, text, strip)
  local ed = { named = text == nil, failed = false, finished = false }
  local held = ""     -- the beginning of the event that is not whole yet
  local sent = 0      -- how much of held has been passed on
  local blind = false -- the event was longer than held may be

  local function edit(event)
    if not ed.failed and is_error_event(event) then
      ed.failed = true
      mark(handle, "stream_error", true)
    end
    if strip and event:find('"usage"', 1, true) then
      local data = payload(event)
      local open = data and data:match("^%s*(){")
      if open and is_usage_chunk(data, open) then return "" end
    end
    if not ed.named then event, ed.named = name_event(event, text) end
    return event
  end

  -- An event whose beginning, or all of it, may have been passed on already.
  local function take(event)
    local begun = sent
    sent = 0
    if blind then
      blind = false
      return event:sub(begun + 1)
    end
    local edited = edit(event)
    if begun == 0 then return edited end
    return event:sub(begun + 1)
  end

  local function boring(data)
    return not (strip and data:find('"usage"', 1, true))
      and (ed.failed or not data:find("error", 1, true) and not data:find("response.failed", 1, true))
  end

  -- What goes on in place of data.
  function ed.push(data)
    if not ed.finished then ed.finished = says_why_it_ended(held .. data) end
    if ed.named and held == "" and (data:sub(-2) == "\n\n" or data:sub(-3) == "\n\r\n") and boring(data) then
      return data
    end
    local s, from, begin, out = held .. data, math.max(1, #held - 2), 1, {}
    local stop = event_end(s, from)
    while stop do
      out[#out + 1] = take(s:sub(begin, stop))
      begin = stop + 1
      stop = event_end(s, begin)
    end
    held = s:sub(begin)
    if ed.named and not strip or #held > HOLD_LIMIT then
      local rest = held:sub(sent + 1)
      if sent == 0 and not ed.named then rest, ed.named = name_event(rest, text) end
      out[#out + 1] = rest
      sent = #held
    end
    if #held > HOLD_LIMIT then
      held, sent, blind = held:sub(-3), 3, true
    end
    return table.concat(out)
  end

  -- What is left at the end: an event without its blank line.
  function ed.finish()
    local event = held
    held = ""
    if event == "" then return "" end
    return take(event)
  end

  return ed
end

local function edit_events(handle, text, strip)
  local ed = new_editor(handle, text, strip)
  local read_usage = new_usage_reader(handle, true)
  local last, out
  for chunk in handle:bodyChunks() do
    local data = bytes(chunk)
    read_usage(data)
    last, out = chunk, ed.push(data)
    if out ~= data then chunk:setBytes(out) end
  end
  if last then
    local rest = ed.finish()
    if rest ~= "" then last:setBytes(out .. rest) end
  end
  if not ed.finished then mark(handle, "no_finish", true) end
end
