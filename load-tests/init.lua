-- /track/init with tokens that are known: each thread makes a thousand visitors, then comes back as one of them.
-- The throttle must be off: WEIR_THROTTLE__TRACK_INIT=0.
local headers = { ["Content-Type"] = "application/json" }
local body = '{"token":"%s","utmSource":"instagram","utmMedium":"story","utmCampaign":"spring-launch",'
  .. '"referrer":"https://www.instagram.com/alice","landingUrl":"https://bio.example/alice/landing?utm_source=instagram"}'
local tokens, sent, threads = {}, 0, 0

-- A visitor is known again by address and user agent: threads must not meet each other's.
setup = function(thread)
  threads = threads + 1
  thread:set("number", threads)
end

request = function()
  sent = sent + 1
  if #tokens < 1000 then
    headers["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Firefox/140.0 " .. number .. "." .. sent
    return wrk.format("POST", "/track/init", headers, "{}")
  end
  headers["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
  return wrk.format("POST", "/track/init", headers, string.format(body, tokens[sent % #tokens + 1]))
end

response = function(_, _, answer)
  if #tokens < 1000 then
    local token = string.match(answer, "visitor_%x+")
    if token then tokens[#tokens + 1] = token end
  end
end
