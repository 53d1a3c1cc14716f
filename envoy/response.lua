-- Edits a provider's answer on its way to the client, chunk by chunk:
--   * names the provider in the JSON answer or in the first SSE event (FALL-4);
--   * takes out the usage chunk that shunt asked for and the client did not (BILL-7);
--   * marks a 200 that turns out to be an error, or does not say why it ended;
--   * replaces an answer that is the operator's affair, not the client's (API-6);
--   * keeps the usage that the provider reported, for the access log (BILL-4).

-- What follows calls into Envoy and looks for patterns, which LuaJIT does not compile:
-- its tries to do so cost more than they gave (make bench: 10 µs of Envoy a request).
jit.off()

local NAMESPACE = "shunt"
-- What shunt has to say to this filter. The rest is not read: all of a namespace becomes
-- Lua tables.
local ANSWER = "shunt.answer"

-- What is held back at most, in bytes: a JSON answer, or the beginning of an event.
-- Of a longer one the first so many are looked at.
local HOLD_LIMIT = 65536

-- A usage object is no longer than this.
local USAGE_LIMIT = 8192

-- A byte order mark, which some servers put before what they say.
local BOM = "\239\187\191"

-- The statuses that speak of the operator's key, credit or model.
local WITHHELD = { ["401"] = true, ["402"] = true, ["403"] = true, ["404"] = true }

-- Answers an error of shunt's own in place of the provider's answer, of which nothing
-- is left but who gave it. A body that is sure to come is replaced as it comes, however
-- long it is.
local function replace_answer(handle, status, message, code)
  local body = '{"error":{"message":"' .. message .. '","type":"server_error","param":null,"code":"' .. code .. '"}}'
  local headers = handle:headers()
  local comes = headers:get("transfer-encoding") or (headers:get("content-length") or "0") ~= "0"
  if not comes then
    handle:body(true):setBytes(body)
    headers = handle:headers() -- those from before the wait for the body are dead
  end
  local theirs = {}
  for name in pairs(headers) do theirs[#theirs + 1] = name end
  for _, name in ipairs(theirs) do
    if name:sub(1, 1) ~= ":" and name ~= "x-provider" then headers:remove(name) end
  end
  headers:replace(":status", status)
  headers:replace("content-type", "application/json")
  headers:replace("content-length", tostring(#body))
  if comes then
    for chunk in handle:bodyChunks() do
      chunk:setBytes(body)
      body = ""
    end
  end
end

local function mark(handle, key, value)
  handle:streamInfo():dynamicMetadata():set(NAMESPACE, key, value)
end

local function bytes(chunk)
  local n = chunk:length()
  if n == 0 then return "" end
  return chunk:getBytes(0, n)
end

-- Of a 429, where every offer that could serve was cooling down before: when the first
-- of them can be asked again. What the last one said of itself is news.
local function retry_after(handle, headers, provider)
  local mine = handle:streamInfo():dynamicMetadata():get(ANSWER)
  if not mine or not mine["usable"] then return end
  local now = handle:timestamp(EnvoyTimestampResolution.MILLISECOND)
  local ms = tonumber(headers:get("retry-after-ms") or "")
  local own = ms and ms / 1000 or tonumber(headers:get("retry-after") or "")
  if own and not (own >= 0) then own = nil end -- NaN too
  local first = own
  for slug, at in pairs(mine["usable"]) do
    local wait = math.max(1, math.ceil((at - now) / 1000))
    if not (own and slug == provider) and (not first or wait < first) then first = wait end
  end
  if first ~= own then
    headers:replace("retry-after", string.format("%d", first))
    headers:remove("retry-after-ms")
  end
end

-- USAGE

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

-- JSON

-- The end of the JSON string that begins at i (which holds the quote).
local function string_end(s, i)
  local j = i + 1
  while true do
    local c = s:find('["\\]', j)
    if not c then return nil end
    if s:byte(c) == 34 then return c end
    j = c + 2
  end
end

-- The end of the JSON value that begins at i, nil where s ends before it.
local function value_end(s, i)
  local c = s:byte(i)
  if c == 34 then return string_end(s, i) end
  if c ~= 123 and c ~= 91 then
    local stop = s:find("[%s,}%]]", i)
    return stop and stop - 1
  end
  local depth = 0
  while true do
    i = s:find('["{}%[%]]', i)
    if not i then return nil end
    c = s:byte(i)
    if c == 34 then
      i = string_end(s, i)
      if not i then return nil end
    elseif c == 123 or c == 91 then
      depth = depth + 1
    else
      depth = depth - 1
      if depth == 0 then return i end
    end
    i = i + 1
  end
end

-- The member of the object at open whose key, quotes included, is this: where the
-- key and the value begin, and where the value ends. nil where s has none.
local function member(s, open, key)
  local i = open + 1
  while true do
    local k = s:match('^[%s,]*()"', i)
    local kend = k and string_end(s, k)
    local v = kend and s:match("^%s*:%s*()%S", kend + 1)
    local vend = v and value_end(s, v)
    if not vend then return nil end
    if s:sub(k, kend) == key then return k, v, vend end
    i = vend + 1
  end
end

-- Removes the members called "provider" that the provider itself wrote, so that the
-- answer has one.
local function without_provider(s, open)
  while s:find('"provider"', open, true) do
    local k, _, vend = member(s, open, '"provider"')
    if not k then return s end
    local following = s:match("^%s*,%s*()", vend + 1)
    if following then
      s = s:sub(1, k - 1) .. s:sub(following)
    else -- the last member takes the comma before it along
      s = s:sub(1, k - 1):gsub("%s*,%s*$", "") .. s:sub(vend + 1)
    end
  end
  return s
end

-- Puts a member behind the brace at open.
local function insert(s, open, text)
  s = without_provider(s, open)
  local following = s:match("^%s*(%S)", open + 1)
  if not following then return s end
  local comma = following == "}" and "" or ","
  return s:sub(1, open) .. text .. comma .. s:sub(open + 1)
end

-- An object with an error in it: {"error":{…}}, {"type":"error",…}, or a response
-- that failed.
local function is_error(s, open)
  if not s:find("error", open, true) and not s:find("response.failed", open, true) then return false end
  local _, v, vend = member(s, open, '"error"')
  if v and s:find('^[{"]', v) then return true end
  _, v, vend = member(s, open, '"type"')
  local kind = v and s:sub(v, vend)
  return kind == '"error"' or kind == '"response.failed"'
end

-- The answer says why it ended: a finish reason that is not null, or the end of a
-- response. In what a model wrote, the quotes of these would be escaped.
local function says_why_it_ended(s)
  local from = 1
  while true do
    local _, stop = s:find('"finish_reason"', from, true)
    if not stop then break end
    if s:find('^%s*:%s*"', stop + 1) then return true end
    from = stop + 1
  end
  return s:find('"response.completed"', 1, true) or s:find('"response.incomplete"', 1, true)
    or s:find('"status"', 1, true) and (s:find('"status"%s*:%s*"completed"') or s:find('"status"%s*:%s*"incomplete"'))
end

-- Where the object begins that s is, or is the beginning of.
local function object_start(s) return s:match("^%s*(){") or s:match("^" .. BOM .. "%s*(){") end

-- A JSON answer is held back until it looks complete, so that a "provider" anywhere
-- in it can give way. White space before it, which keeps the client's connection
-- alive, is not.
local function edit_json(handle, text)
  local held, done, last, out, finished = "", false, nil, "", false
  local read_usage = new_usage_reader(handle, false)
  local function settle(open)
    finished = says_why_it_ended(held)
    if is_error(held, open) then mark(handle, "stream_error", true) end
    local edited = text and insert(held, open, text) or held
    held, done = "", true
    return edited
  end
  for chunk in handle:bodyChunks() do
    last, out = chunk, ""
    local data = bytes(chunk)
    read_usage(data)
    if not done then
      held = held .. data
      local open = object_start(held)
      if not open then
        if BOM:sub(1, #held) ~= held then
          done = held:find("%S") ~= nil -- no object
          out, held = held, ""
        end
      elseif held:find("^%s*%S", open + 1) and (#held > HOLD_LIMIT or held:find("}%s*$")) then
        out = settle(open)
      end
      if out ~= data then chunk:setBytes(out) end
    elseif not finished then
      finished = says_why_it_ended(data)
    end
  end
  if held ~= "" then -- it ended within the object, or before it
    local open = object_start(held)
    last:setBytes(open and settle(open) or held)
  end
  if not finished then mark(handle, "no_finish", true) end
end

-- SSE

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

function envoy_on_response(handle)
  local headers = handle:headers()
  local provider = headers:get("x-provider")
  local outcome = headers:get("x-shunt-outcome")
  if outcome then -- an attempt without an answer, reported by the timed way
    headers:remove("x-shunt-outcome")
    if outcome == "deadline" then
      replace_answer(handle, "504", "no provider answered in time", "deadline_exceeded")
    else
      replace_answer(handle, "502", "no provider answered", "all_providers_failed")
    end
    return
  end
  if not provider then return end -- not a provider's answer
  local status = headers:get(":status")
  if WITHHELD[status] then
    replace_answer(handle, "502", "provider " .. provider .. " refused the request", "provider_error")
    return
  end
  if not status:find("^[245]%d%d$") then
    -- A client that followed a redirect would send the prompt past this gateway.
    local what = status:find("^3%d%d$") and "a redirect" or "the status " .. status
    replace_answer(handle, "502", "provider " .. provider .. " answered with " .. what, "provider_error")
    return
  end
  if status == "429" then retry_after(handle, headers, provider) end
  local coding = (headers:get("content-encoding") or ""):lower()
  if status:sub(1, 1) ~= "2" or coding ~= "" and coding ~= "identity" then return end

  local text
  if handle:filterContext():get("name_provider") then text = '"provider":"' .. provider .. '"' end
  local kind = (headers:get("content-type") or ""):lower()
  if kind:find("text/event-stream", 1, true) then
    local mine = handle:streamInfo():dynamicMetadata():get(ANSWER)
    local strip = mine ~= nil and mine["strip_usage"] == true
    if strip or text then headers:remove("content-length") end
    edit_events(handle, text, strip)
  elseif kind:find("json", 1, true) then
    if text then headers:remove("content-length") end
    edit_json(handle, text)
  end
end
