-- Sessions and their views, one to three: wrk -t2 -c256 -d12s --latency -s load-tests/views.lua http://127.0.0.1:8080
--
-- Needs the throttles of sessions and views turned off (WEIR_THROTTLE__SESSION=0 WEIR_THROTTLE__PAGEVIEW=0). Each thread
-- views the sessions that it opened itself, a recent one at random.
local headers = {
  ["Content-Type"] = "application/json",
  ["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
}
local session = '{"visitorId":"%d","landingPage":"https://example.org/","consentAnalytics":"granted"}'
local view = '{"sessionId":"%s","url":"https://example.org/page/%d","title":"A page","referrer":"https://www.example.com/"}'
local recent, newest, turn = {}, 0, 0

request = function()
  turn = turn + 1
  if newest > 0 and turn % 4 ~= 0 then
    local id = recent[math.random(math.max(1, newest - 999), newest)]
    return wrk.format("POST", "/api/v1/analytics/pageview", headers, string.format(view, id, turn))
  end
  return wrk.format("POST", "/api/v1/analytics/session", headers, string.format(session, turn))
end

response = function(status, _, body)
  local id = string.match(body, '"id":"([^"]+)","createdAt"')
  if id then
    newest = newest + 1
    recent[newest] = id
    recent[newest - 1000] = nil
  end
end
