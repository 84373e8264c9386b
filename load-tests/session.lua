-- Sessions as fast as wrk can send them: 16,384 visitors, 60 user agents, bodies of about 450 bytes.
--
--   WEIR_THROTTLE__SESSION=0 cargo run --release
--   wrk -t2 -c256 -d12s --latency -s load-tests/session.lua http://127.0.0.1:8080
local agents = {}
for version = 111, 170 do
  agents[#agents + 1] = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/"
    .. version .. ".0.0.0 Safari/537.36"
end

local sent = 0

request = function()
  sent = sent + 1
  local body = '{"visitorId":"2f1f3c1e-6d9b-4a55-9a54-' .. string.format("%012d", sent % 16384) .. '",'
    .. '"landingPage":"https://bio.example/alice/landing?utm_source=instagram&utm_medium=story",'
    .. '"consentAnalytics":"granted","referrer":"https://www.instagram.com/alice","utmSource":"instagram",'
    .. '"utmMedium":"story","utmCampaign":"spring-launch","screenWidth":390,"screenHeight":844,"language":"en-US",'
    .. '"timezone":"Europe/Istanbul","connectionType":"4g","creatorId":"11111111-2222-3333-4444-555555555555"}'
  local headers = { ["Content-Type"] = "application/json", ["User-Agent"] = agents[sent % #agents + 1] }
  return wrk.format("POST", "/api/v1/analytics/session", headers, body)
end
