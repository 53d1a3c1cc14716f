-- Edits a provider's answer on its way to the client, chunk by chunk:
--   * names the provider in the JSON answer or in the first SSE event (FALL-4);
--   * takes out the usage chunk that shunt asked for and the client did not (BILL-7);
--   * marks a 200 stream that carries an error event;
--   * replaces an answer that is the operator's affair, not the client's (API-6).
-- Usage has been counted before this filter sees a byte.

local NAMESPACE = "shunt"
local TAIL_LIMIT = 65536

-- The statuses that speak of the operator's key, credit or model.
local WITHHELD = { ["401"] = true, ["402"] = true, ["403"] = true, ["404"] = true }

-- Answers an error of shunt's own in place of the provider's answer.
local function replace_answer(handle, headers, message, code)
  local body = '{"error":{"message":"' .. message .. '","type":"server_error","param":null,"code":"' .. code .. '"}}'
  for _, name in ipairs({ "content-encoding", "transfer-encoding", "www-authenticate", "etag", "retry-after" }) do
    headers:remove(name)
  end
  handle:body(true):setBytes(body)
  headers:replace(":status", "502")
  headers:replace("content-type", "application/json")
  headers:replace("content-length", tostring(#body))
end

local function mark(handle, key, value)
  handle:streamInfo():dynamicMetadata():set(NAMESPACE, key, value)
end

local function bytes(chunk)
  local n = chunk:length()
  if n == 0 then return "" end
  return chunk:getBytes(0, n)
end

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

-- Removes a top-level "provider" member that the provider itself wrote, so that
-- the answer has one. open is the index of the object's brace.
local function without_provider(s, open)
  if not s:find('"provider"', open, true) then return s end
  local depth, i, n = 1, open + 1, #s
  while i <= n and depth > 0 do
    local c = s:byte(i)
    if c == 34 then
      local stop = string_end(s, i)
      if not stop then return s end
      if depth == 1 and s:sub(i, stop) == '"provider"' then
        local v = s:match("^%s*:%s*()", stop + 1)
        if v and s:byte(v) == 34 then
          local vend = string_end(s, v)
          if not vend then return s end
          local comma = s:match("^%s*,%s*()", vend + 1)
          if comma then return s:sub(1, i - 1) .. s:sub(comma) end
          return s
        end
      end
      i = stop
    elseif c == 123 or c == 91 then
      depth = depth + 1
    elseif c == 125 or c == 93 then
      depth = depth - 1
    end
    i = i + 1
  end
  return s
end

-- Puts the member behind the object's brace at index open. Returns nil while
-- nothing follows the brace yet, since an empty object takes no comma.
local function insert_provider(s, open, member)
  s = without_provider(s, open)
  local following = s:match("^%s*(%S)", open + 1)
  if not following then return nil end
  local comma = following == "}" and "" or ","
  return s:sub(1, open) .. member .. comma .. s:sub(open + 1)
end

local function edit_json(handle, member)
  local held, done = "", false
  for chunk in handle:bodyChunks() do
    if not done then
      held = held .. bytes(chunk)
      local open = held:match("^%s*(){")
      local edited = open and insert_provider(held, open, member)
      if edited then
        chunk:setBytes(edited)
        held, done = "", true
      elseif held:find("%S") and not open or chunk:length() == 0 then
        chunk:setBytes(held) -- no object, or nothing more will come
        held, done = "", true
      else
        chunk:setBytes("")
      end
    end
  end
end

-- A usage chunk as shunt asked for it: no choices, and a usage object.
local function is_usage_chunk(event)
  return event:find('"choices"%s*:%s*%[%s*%]') ~= nil and event:find('"usage"%s*:%s*{') ~= nil
end

-- Splits s behind its last blank line: whole events, and the rest.
local function split_events(s)
  local cut = 0
  local from = 1
  while true do
    local _, stop = s:find("\r?\n\r?\n", from)
    if not stop then break end
    cut, from = stop, stop + 1
  end
  return s:sub(1, cut), s:sub(cut + 1)
end

local function drop_usage(events)
  if not events:find('"usage"', 1, true) then return events end
  local out, from = {}, 1
  while from <= #events do
    local _, stop = events:find("\r?\n\r?\n", from)
    stop = stop or #events
    local event = events:sub(from, stop)
    if not is_usage_chunk(event) then out[#out + 1] = event end
    from = stop + 1
  end
  return table.concat(out)
end

-- Finds the first event that holds a JSON object and names the provider in it.
-- Returns the text and whether it is settled.
local function name_in_event(s, member)
  local from = 1
  while true do
    local line = s:match("()[^\n]*\n", from)
    local open
    if s:sub(from, from + 4) == "data:" then
      open = s:match("^data:[ \t]*(){", from)
      if open then
        local edited = insert_provider(s, open, member)
        if edited then return edited, true end
        return s, false
      end
    end
    local following = s:match("^[^\n]*\n()", from)
    if not line or not following then return s, false end
    from = following
  end
end

local function edit_events(handle, member, strip)
  local named = member == nil
  local rest = ""    -- bytes not yet passed on
  local line = ""    -- the unfinished last line, for the tail
  local window = ""  -- the end of the chunk before, for a marker split over two
  local failed = false
  for chunk in handle:bodyChunks() do
    local data = bytes(chunk)
    local last = #data == 0
    if not failed and not last then
      if data:find('"error"', 1, true) or window ~= "" then
        if (window .. data):find('"error"%s*:%s*[{"]') then
          failed = true
          mark(handle, "stream_error", true)
        end
      end
      window = data:find('"e?r?r?o?r?"?%s*:?%s*$') and data:sub(-16) or ""
    end
    if not last then
      if data:byte(-1) == 10 then line = ""
      else
        line = (line .. data):match("[^\n]*$")
        if #line > TAIL_LIMIT then line = "" end
      end
    end
    local whole = data
    if strip or not named then
      whole = rest .. data
      rest = ""
      if not last then whole, rest = split_events(whole) end
    end
    if not named and whole ~= "" then whole, named = name_in_event(whole, member) end
    if strip then whole = drop_usage(whole) end
    if last and line:find('"usage"', 1, true) then mark(handle, "tail", line) end
    if whole ~= data then chunk:setBytes(whole) end
  end
end

function envoy_on_response(handle)
  local headers = handle:headers()
  local provider = headers:get("x-provider")
  if headers:get("x-shunt-outcome") then -- an attempt without an answer, reported by the timed way
    headers:remove("x-shunt-outcome")
    replace_answer(handle, headers, "no provider answered", "all_providers_failed")
    return
  end
  if not provider then return end -- not a provider's answer
  local status = headers:get(":status")
  if WITHHELD[status] then
    replace_answer(handle, headers, "provider " .. provider .. " refused the request", "provider_error")
    return
  end
  if status:sub(1, 1) ~= "2" or headers:get("content-encoding") then return end

  local member
  if handle:filterContext():get("name_provider") then member = '"provider":"' .. provider .. '"' end
  local kind = headers:get("content-type") or ""
  if kind:find("text/event-stream", 1, true) then
    local mine = handle:streamInfo():dynamicMetadata():get(NAMESPACE)
    local strip = mine ~= nil and mine["strip_usage"] == true
    if strip or member then headers:remove("content-length") end
    edit_events(handle, member, strip)
  elseif member and kind:find("json", 1, true) then
    headers:remove("content-length")
    edit_json(handle, member)
  end
end
