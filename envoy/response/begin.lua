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
