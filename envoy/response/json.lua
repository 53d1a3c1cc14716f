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
