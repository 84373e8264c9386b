-- Sessions with a user agent that nobody has had before, each time. PAUSE_MS in the environment has each connection wait
-- before a request.
local headers = { ["Content-Type"] = "application/json" }
local body = '{"visitorId":"a flood","landingPage":"https://bio.example/","consentAnalytics":"granted"}'
math.randomseed(os.time())

request = function()
  headers["User-Agent"] = string.format(
    "Mozilla/5.0 (Windows NT %d.%d; Win64; x64) AppleWebKit/%d.%d (KHTML, like Gecko) Chrome/%d.0.%d.%d Safari/537.36",
    math.random(5, 11), math.random(0, 9), math.random(100, 999), math.random(0, 99), math.random(50, 150),
    math.random(0, 9999), math.random(0, 9999)
  )
  return wrk.format("POST", "/api/v1/analytics/session", headers, body)
end

local pause_ms = tonumber(os.getenv("PAUSE_MS"))
if pause_ms then
  delay = function() return pause_ms end
end
