"""Visitors of every kind for grafana/check, so that no panel is empty.

They come from addresses of their own (198.18.0.0/15, set aside for benchmarks) in
X-Forwarded-For, and from countries in the headers that Cloudflare would send: Weir believes
both of a proxy on loopback.
"""

import http.client
import itertools
import json
import random
import re
import threading
import time
import uuid

BROWSERS = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15",
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (iPad; CPU OS 17_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.7 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Mobile Safari/537.36",
]
BOTS = ["Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "curl/8.5.0"]
REFERRERS = ["https://www.instagram.com/alice", "https://news.example.org/42", "https://search.example.net/", None, None]
CAMPAIGNS = [("news", "mail", "spring"), ("news", "mail", "summer"), ("instagram", "story", "launch"), None, None]
PLACES = [("SE", "Link%C3%B6ping"), ("DE", "Berlin"), ("TR", "Istanbul"), ("US", "Boston"), ("XX", None)]
PAGES = ["/", "/welcome", "/prices", "/alice", "/about"]
EVENTS = ["signed_up", "trial_started", "plan_chosen", "paid"]

ANALYTICS = "/api/v1/analytics"
COOKIES = "/api/v1/consent/cookies"


class Crowd:
    """Threads that send one journey after the other until they are told to stop."""

    def __init__(self, address, log, page, token, access, internal_key, journeys=None):
        self.host, self.port = address.rsplit(":", 1)
        self.log, self.page, self.token = log, page, token
        self.access, self.internal_key = access, internal_key
        self.journeys, self.threads = journeys or JOURNEYS, []
        self.numbers = itertools.count(random.randrange(0x10000))
        self.stopping = threading.Event()
        self.invites = []
        self.failures = []
        self.statuses = {}

    def run(self, threads):
        """Starts them. `stop` ends them."""
        self.threads = [threading.Thread(target=self.visit_on, args=(at,), daemon=True) for at in range(threads)]
        for thread in self.threads:
            thread.start()

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(30)

    def visit_on(self, seed):
        chance = random.Random(seed)
        # Not at random: each kind comes, also where the machine is slow.
        first = seed % len(self.journeys)
        for journey in itertools.cycle(self.journeys[first:] + self.journeys[:first]):
            if self.stopping.is_set():
                return
            try:
                journey(Visitor(self, chance))
            except (OSError, http.client.HTTPException, KeyError, TypeError, ValueError) as error:
                self.failures.append(f"{journey.__name__}: {error!r}")
            time.sleep(0.05)

    def code_for(self, email):
        """The sign-in code that the log tells, or None."""
        for _ in range(60):
            found = re.findall(rf"sign-in code for {re.escape(email)} is (\d+)", self.log.read_text())
            if found:
                return found[-1]
            time.sleep(0.05)
        return None


class Visitor:
    """One browser, at one address."""

    def __init__(self, crowd, chance):
        self.crowd, self.chance = crowd, chance
        number = next(crowd.numbers) % 0x20000
        country, city = chance.choice(PLACES)
        self.headers = {
            "User-Agent": chance.choice(BROWSERS),
            "X-Forwarded-For": f"198.{18 + (number >> 16)}.{(number >> 8) & 255}.{number & 255}",
            "CF-IPCountry": country,
            **({"CF-IPCity": city} if city else {}),
        }
        self.connection = http.client.HTTPConnection(crowd.host, int(crowd.port), timeout=15)

    def call(self, method, path, body=None, access=None, raw=None, **headers):
        """Status and data of the answer, without its envelope."""
        sent = dict(self.headers, **{name.replace("_", "-"): value for name, value in headers.items()})
        payload = raw if raw is not None else None if body is None else json.dumps(body)
        if payload is not None:
            sent.setdefault("Content-Type", "application/json")
        if access:
            sent["Authorization"] = f"Bearer {access}"
        self.connection.request(method, path, body=payload, headers=sent)
        answer = self.connection.getresponse()
        text = answer.read()
        key = (method, re.sub(r"/[0-9a-f-]{36}/", "/:id/", path), answer.status)
        self.crowd.statuses[key] = self.crowd.statuses.get(key, 0) + 1
        try:
            found = json.loads(text)
        except ValueError:
            found = None
        return answer.status, found.get("data", found) if isinstance(found, dict) else found

    def session(self, **fields):
        campaign = self.chance.choice(CAMPAIGNS)
        body = {
            "visitorId": f"visitor-{self.chance.randrange(400)}",
            "landingPage": f"https://example.org{self.chance.choice(PAGES)}?from=here",
            "consentAnalytics": "granted",
            "referrer": self.chance.choice(REFERRERS),
            "language": self.chance.choice(["en-GB", "de-DE", "tr-TR", None]),
            "timezone": "Europe/Berlin",
            "screenWidth": self.chance.choice([390, 1280, 1920]),
            "screenHeight": 844,
            "connectionType": "4g",
        }
        if campaign:
            body.update(zip(("utmSource", "utmMedium", "utmCampaign"), campaign))
        return self.call("POST", f"{ANALYTICS}/session", {**body, **fields})

    def view(self, session):
        page = self.chance.choice(PAGES)
        body = {"sessionId": session, "url": f"https://example.org{page}", "title": page}
        return self.call("POST", f"{ANALYTICS}/pageview", body)[1]["id"]

    def cookies(self, access=None):
        choice = {name: self.chance.random() < share for name, share in
                  (("analytics", 0.7), ("marketing", 0.3), ("functional", 0.9))}
        return self.call("POST", COOKIES, choice, access)


# --- journeys ------------------------------------------------------------------------------------------------------------


def browse(visitor):
    session = visitor.session()[1]["id"]
    for _ in range(visitor.chance.randrange(4)):
        view = visitor.view(session)
        if visitor.chance.random() < 0.6:
            visitor.call(visitor.chance.choice(["POST", "PATCH"]), f"{ANALYTICS}/pageview/{view}/leave",
                         {"duration": visitor.chance.uniform(1, 90), "scrollDepth": visitor.chance.randrange(101)})
    for _ in range(visitor.chance.randrange(3)):
        visitor.call("PATCH", f"{ANALYTICS}/session/{session}/heartbeat")


def bio_page(visitor):
    visitor.session(bioPageId=visitor.crowd.page, trackingToken=visitor.crowd.token)
    visitor.session(bioPageId=visitor.crowd.page, trackingToken="0" * 32)


def not_stored(visitor):
    visitor.session(consentAnalytics="denied")
    visitor.call("POST", f"{ANALYTICS}/session", {"visitorId": 1})
    visitor.call("POST", f"{ANALYTICS}/session", raw='{"visitorId": ')
    visitor.call("POST", f"{ANALYTICS}/track", {"event": "nobody's"})
    visitor.headers["User-Agent"] = visitor.chance.choice(BOTS)
    visitor.session()


def too_often(visitor):
    for _ in range(13):
        visitor.session()
    for _ in range(12):
        visitor.cookies()


def offline(visitor):
    key = str(uuid.uuid4())
    body = {"visitorId": key, "landingPage": "https://example.org/", "consentAnalytics": "granted"}
    items = [
        {"type": "session", "key": key, "ageMs": 60_000, "body": body},
        {"type": "pageview", "ageMs": 50_000, "sessionRef": 0, "body": {"url": "https://example.org/offline"}},
        {"type": "leave", "ageMs": 20_000, "viewRef": 1, "body": {"duration": 30, "scrollDepth": 100}},
        {"type": "heartbeat", "ageMs": 20_000, "sessionRef": 0},
        {"type": "pageview", "sessionRef": 7, "body": {"url": "https://example.org/"}},
    ]
    visitor.call("POST", f"{ANALYTICS}/batch", {"items": items})
    # Once more, as a client does that has not seen the answer.
    visitor.call("POST", f"{ANALYTICS}/batch", {"items": items[:1]})


def choose(visitor):
    visitor.cookies()
    visitor.call("GET", f"{COOKIES}/policy")
    visitor.call("GET", f"{COOKIES}/status")
    visitor.call("POST", COOKIES, {"analytics": "yes"})


def sign_up(visitor):
    campaign = visitor.chance.choice(CAMPAIGNS) or (None, None, None)
    first = {"utmSource": campaign[0], "utmMedium": campaign[1], "utmCampaign": campaign[2],
             "landingUrl": "https://example.org/welcome", "referrer": visitor.chance.choice(REFERRERS)}
    if visitor.crowd.invites:
        first["invitedBy"] = visitor.chance.choice(visitor.crowd.invites)
    token = visitor.call("POST", "/track/init", first)[1]["token"]
    visitor.call("POST", "/track/init", {"token": token})
    session = visitor.session()[1]["id"]
    email = f"{uuid.uuid4().hex[:12]}@example.org"
    visitor.call("POST", "/auth/request-code", {"email": email})
    code = visitor.crowd.code_for(email)
    visitor.call("POST", "/auth/verify", {"email": email, "code": "000000" if code != "000000" else "000001"})
    status, signed_in = visitor.call("POST", "/auth/verify", {"email": email, "code": code, "visitorToken": token})
    if status != 200:
        return  # The database is away at the moment, on purpose.
    visitor.crowd.invites.append(signed_in["user"]["id"])
    access = signed_in["accessToken"]
    visitor.call("PATCH", f"{ANALYTICS}/session/{session}/identify", access=access)
    for event in EVENTS[: visitor.chance.randrange(1, 5)]:
        visitor.call("POST", f"{ANALYTICS}/track", {"event": event, "sessionId": session, "properties": {"plan": "free"}}, access)
    visitor.cookies(access)
    visitor.call("GET", f"{COOKIES}/status", access=access)
    visitor.call("GET", "/api/v1/users/attribution", access=access)
    visitor.call("GET", "/api/v1/users/consent", access=access)


def leave_a_token_behind(visitor):
    visitor.call("POST", "/track/init", {})


def other_services(visitor):
    visitor.call("POST", "/internal/v1/users", {"id": str(uuid.uuid4())}, X_Internal_Key=visitor.crowd.internal_key)
    visitor.call("POST", "/internal/v1/users", {"id": "nobody"})
    visitor.call("POST", "/auth/external/verify", {"provider": "none", "idToken": "none"})
    # An account service that shares the secret: `weir jwt` makes such a token.
    visitor.call("POST", f"{ANALYTICS}/track", {"event": "paid"}, visitor.crowd.access)


def odd(visitor):
    for method, path in (("GET", "/health/live"), ("GET", "/health/ready"), ("GET", "/openapi.json"), ("GET", "/docs"),
                         ("GET", "/nothing"), ("DELETE", COOKIES)):
        visitor.call(method, path)
    visitor.call("OPTIONS", f"{ANALYTICS}/session", Origin="https://example.org", Access_Control_Request_Method="POST")
    # A body that never comes, and a client that does not wait.
    visitor.connection.putrequest("POST", COOKIES)
    visitor.connection.putheader("Content-Type", "application/json")
    visitor.connection.putheader("Content-Length", "60")
    visitor.connection.endheaders(b'{"analytics": ')
    visitor.connection.close()


JOURNEYS = [browse, sign_up, bio_page, browse, choose, not_stored, browse, offline, sign_up, other_services, browse, choose,
            leave_a_token_behind, odd, too_often]
