-- Sessions that are not stored, for the reason in KIND: throttled (which the server's limit decides), bot, invalid,
-- no consent, bad token.
local kind = os.getenv("KIND")
local agent = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"
local consent, page, visitor = "granted", "", '"2f1f3c1e-6d9b-4a55-9a54-000000000001"'
if kind == "bot" then agent = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)" end
if kind == "no consent" then consent = "denied" end
if kind == "invalid" then visitor = "7" end
if kind == "bad token" then
  page = ',"bioPageId":"11111111-2222-3333-4444-555555555555","trackingToken":"0123456789abcdef0123456789abcdef"'
end
local body = '{"visitorId":' .. visitor .. ',"landingPage":"https://bio.example/alice/landing?utm_source=instagram",'
  .. '"consentAnalytics":"' .. consent .. '","referrer":"https://www.instagram.com/alice",'
  .. '"utmMedium":"story","utmCampaign":"spring-launch","screenWidth":390,"screenHeight":844,"language":"en-US",'
  .. '"timezone":"Europe/Istanbul"' .. page .. '}'
local headers = { ["Content-Type"] = "application/json", ["User-Agent"] = agent }
local bytes

request = function()
  bytes = bytes or wrk.format("POST", "/api/v1/analytics/session", headers, body)
  return bytes
end
