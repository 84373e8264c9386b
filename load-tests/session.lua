-- Sessions as fast as wrk can send them: 16,384 distinct requests of 60 user
-- agents, made before the first is sent, so that making them costs the
-- measurement nothing.
--
--   WEIR_THROTTLE__SESSION=0 cargo run --release
--   wrk -t2 -c256 -d12s --latency -s load-tests/session.lua http://127.0.0.1:8080
--
-- With BIO_PAGE_ID and TRACKING_TOKEN (weir token prints one) in the environment
-- they are sessions of a bio page, with bodies of 434 bytes.
local requests, sent = {}, 0

init = function()
  local page, token = os.getenv("BIO_PAGE_ID"), os.getenv("TRACKING_TOKEN")
  local of_page = ""
  if page and token then of_page = ',"bioPageId":"' .. page .. '","trackingToken":"' .. token .. '"' end
  for number = 1, 16384 do
    local body = '{"visitorId":"2f1f3c1e-6d9b-4a55-9a54-' .. string.format("%012d", number) .. '",'
      .. '"landingPage":"https://bio.example/alice/landing?utm_source=instagram",'
      .. '"consentAnalytics":"granted","referrer":"https://www.instagram.com/alice",'
      .. '"utmMedium":"story","utmCampaign":"spring-launch","screenWidth":390,"screenHeight":844,"language":"en-US",'
      .. '"timezone":"Europe/Istanbul"' .. of_page .. '}'
    local agent = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/"
      .. (111 + number % 60) .. ".0.0.0 Safari/537.36"
    local headers = { ["Content-Type"] = "application/json", ["User-Agent"] = agent }
    requests[number] = wrk.format("POST", "/api/v1/analytics/session", headers, body)
  end
end

request = function()
  sent = sent % #requests + 1
  return requests[sent]
end
