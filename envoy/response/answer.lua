-- Answers an error of shunt's own in place of the provider's answer, of which nothing
-- is left but who gave it. The body is waited for: should it break off, Envoy answers an
-- error that is whole. One that would be too long to hold is replaced as it comes.
local function replace_answer(handle, status, message, code)
  local body = '{"error":{"message":"' .. message .. '","type":"server_error","param":null,"code":"' .. code .. '"}}'
  local headers = handle:headers()
  local long = (tonumber(headers:get("content-length") or "") or 0) > HOLD_LIMIT
  if not long then
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
  if long then
    for chunk in handle:bodyChunks() do
      chunk:setBytes(body)
      body = ""
    end
  end
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
