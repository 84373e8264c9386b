// A smoke test for a running Weir: k6 run k6.js
//
//   BASE_URL   where it listens; http://127.0.0.1:8080 unless given
//   PROFILE    smoke: 30 requests a second for 20 seconds
//
// Visitors open sessions and answer the cookie banner. Some are bots, some have
// not consented and some send what no client should send. Every answer is
// checked word for word where it is fixed, and for its form where it is not.
//
// Each request comes from an address of its own, named in X-Forwarded-For, so
// that no throttle is met. Weir believes that header only from a trusted proxy;
// loopback and private networks are trusted unless configured otherwise.
import http from "k6/http";
import exec from "k6/execution";
import { check } from "k6";

const BASE_URL = (__ENV.BASE_URL || "http://127.0.0.1:8080").replace(/\/+$/, "");
const PROFILE = __ENV.PROFILE || "smoke";

const PROFILES = {
  smoke: { sessions: 20, consents: 10, duration: "20s", users: 40, p95: 250 },
};

const profile = PROFILES[PROFILE];
if (!profile) {
  throw new Error(`PROFILE is ${PROFILE}: there is only ${Object.keys(PROFILES).join(", ")}`);
}

function arrivals(name, rate) {
  return {
    executor: "constant-arrival-rate",
    exec: name,
    rate,
    timeUnit: "1s",
    duration: profile.duration,
    preAllocatedVUs: profile.users,
    maxVUs: profile.users,
    gracefulStop: "5s",
  };
}

export const options = {
  scenarios: {
    session: arrivals("session", profile.sessions),
    consent: arrivals("consent", profile.consents),
  },
  thresholds: {
    checks: ["rate==1"],
    // An answer is failed when its status is not the one that was asked for: the
    // 400 for an invalid body is as right as the 200 for a valid one.
    http_req_failed: ["rate==0"],
    "http_req_duration{route:session}": [`p(95)<${profile.p95}`],
    "http_req_duration{route:consent}": [`p(95)<${profile.p95}`],
  },
  summaryTrendStats: ["min", "med", "p(95)", "p(99)", "max"],
};

const BROWSERS = [
  "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36",
  "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36 Edg/138.0.0.0",
  "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0",
  "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15",
  "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
  "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1",
  "Mozilla/5.0 (iPad; CPU OS 17_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.7 Mobile/15E148 Safari/604.1",
  "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Mobile Safari/537.36",
  "Mozilla/5.0 (Linux; Android 15; SM-S928B) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/28.0 Chrome/130.0.0.0 Mobile Safari/537.36",
];

const BOTS = [
  "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
  "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
  "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
  "WhatsApp/2.23.20.0",
  "curl/8.5.0",
  "python-requests/2.32.3",
];

const REFERRERS = [
  "https://www.instagram.com/alice",
  "https://www.tiktok.com/@alice",
  "https://news.example.org/articles/42?from=front",
  "android-app://com.example.reader/",
  "not a url",
];

const UUID_V7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const INSTANT = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

const pick = (list) => list[Math.floor(Math.random() * list.length)];

// The networks set aside for benchmarks, 198.18.0.0/15. A run begins at a place
// of its own, so that the next one does not meet the throttles of the last.
export function setup() {
  return { first: Math.floor(Math.random() * 0x20000) };
}

function address(first) {
  const n = (first + exec.scenario.iterationInTest) % 0x20000;
  return `198.${18 + (n >> 16)}.${(n >> 8) & 255}.${n & 255}`;
}

function uuid() {
  return "xxxxxxxx-xxxx-4xxx-8xxx-xxxxxxxxxxxx".replace(/x/g, () => Math.floor(Math.random() * 16).toString(16));
}

function post(path, route, kind, status, body, userAgent, first) {
  const requestId = uuid();
  const response = http.post(BASE_URL + path, typeof body === "string" ? body : JSON.stringify(body), {
    headers: {
      "Content-Type": "application/json",
      "User-Agent": userAgent,
      "X-Forwarded-For": address(first),
      "X-Request-Id": requestId,
    },
    tags: { name: `${route}: ${kind}`, route },
    responseCallback: http.expectedStatuses(status),
    timeout: "5s",
  });
  let json = null;
  try {
    json = response.json();
  } catch (_) {
    // The checks say that it is no JSON.
  }
  // On every answer of a throttled route, whatever it says. The numbers are
  // configurable, and a limit of 0 leaves both headers out.
  const policy = response.headers["Ratelimit-Policy"];
  const limit = response.headers["Ratelimit"];
  check(response, {
    [`${route}, ${kind}: status ${status}`]: (r) => r.status === status,
    [`${route}: answers in JSON`]: (r) => json !== null && /^application\/json\b/.test(r.headers["Content-Type"]),
    [`${route}: echoes X-Request-Id`]: (r) => r.headers["X-Request-Id"] === requestId,
    [`${route}: names its limit`]: () =>
      policy === undefined
        ? limit === undefined
        : /^"[^"]+";q=\d+;w=\d+$/.test(policy) && /^"[^"]+";r=\d+;t=\d+$/.test(limit),
  });
  return { json, requestId };
}

// The same keys and the same values, in any order.
function same(a, b) {
  if (a === null || b === null || typeof a !== "object" || typeof b !== "object") return a === b;
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => key in b && same(a[key], b[key]));
}

// A refusal names every field that is wrong, in the order of the contract. One
// field may break more than one rule, so further messages may stand in between.
function refusal(json, requestId, code, expected) {
  const error = json && json.success === false ? json.error : null;
  if (!error || error.code !== code || error.correlationId !== requestId) return false;
  if (typeof error.message !== "string" || typeof error.i18nKey !== "string" || !("i18nVars" in error)) return false;
  if (!Array.isArray(error.details)) return false;
  let at = 0;
  for (const detail of error.details) {
    const next = expected[at];
    if (next && detail.field === next.field && detail.message === next.message) at++;
  }
  return at === expected.length;
}

const wrong = (field, rule) => ({ field, message: `${field} ${rule}` });

const BAD_SESSIONS = [
  {
    kind: "no visitorId",
    spoil: (body) => ({ ...body, visitorId: undefined }),
    details: [wrong("visitorId", "must be a string")],
  },
  {
    kind: "empty landingPage",
    spoil: (body) => ({ ...body, landingPage: "" }),
    details: [wrong("landingPage", "should not be empty")],
  },
  {
    kind: "three bad fields",
    spoil: (body) => ({ ...body, osVersion: "1".repeat(21), screenWidth: 7681, screenHeight: -1 }),
    details: [
      wrong("osVersion", "must be shorter than or equal to 20 characters"),
      wrong("screenWidth", "must not be greater than 7680"),
      wrong("screenHeight", "must not be less than 0"),
    ],
  },
  {
    kind: "half a pixel",
    spoil: (body) => ({ ...body, screenWidth: 390.5 }),
    details: [wrong("screenWidth", "must be an integer number")],
  },
  {
    kind: "a NUL character",
    spoil: (body) => ({ ...body, referrer: "https://example.org/\u0000" }),
    details: [wrong("referrer", "must not contain a NUL character")],
  },
];

function sessionBody() {
  const body = {
    visitorId: uuid(),
    landingPage: `https://example.com/${pick(["alice", "bob", "çiğdem", ""])}?utm_source=k6`,
    consentAnalytics: "granted",
    language: pick(["en-US", "tr-TR", "de-DE"]),
    timezone: pick(["Europe/Istanbul", "Europe/Berlin", "America/New_York"]),
    connectionType: pick(["4g", "wifi", null]),
    screenWidth: pick([390, 1280, 1920, 0, 7680]),
    screenHeight: pick([844, 720, 1080]),
    utmSource: "k6",
    utmMedium: "smoke",
    aFieldOfTomorrow: { ignored: true },
  };
  if (Math.random() < 0.6) body.referrer = pick(REFERRERS);
  return body;
}

const PATH_SESSION = "/api/v1/analytics/session";
const PATH_CONSENT = "/api/v1/consent/cookies";

// A malformed body is answered with the place of the mistake and not with the
// body itself.
function malformed(path, route, first) {
  const { json, requestId } = post(path, route, "malformed", 400, '{"secretOfMine": tru', pick(BROWSERS), first);
  check(json, {
    [`${route}, malformed: MALFORMED_JSON with line and column`]: (j) =>
      refusal(j, requestId, "MALFORMED_JSON", []) && /line\b.*\bcolumn/i.test(JSON.stringify(j)),
    [`${route}, malformed: no echo`]: (j) => j !== null && !JSON.stringify(j).includes("secretOfMine"),
  });
}

function notTracked(kind, body, userAgent, first) {
  const { json } = post(PATH_SESSION, "session", kind, 200, body, userAgent, first);
  check(json, {
    [`session, ${kind}: {id: null}`]: (j) => same(j, { success: true, data: { id: null } }),
  });
}

export function session({ first }) {
  const chance = Math.random();
  const body = sessionBody();
  if (chance < 0.1) {
    notTracked("bot", body, pick(BOTS), first);
  } else if (chance < 0.2) {
    // Only the exact word counts; JSON leaves out what is undefined.
    body.consentAnalytics = pick(["denied", "Granted", "", null, undefined]);
    notTracked("no consent", body, pick(BROWSERS), first);
  } else if (chance < 0.24) {
    notTracked("forged token", { ...body, bioPageId: uuid(), trackingToken: "0".repeat(32) }, pick(BROWSERS), first);
  } else if (chance < 0.34) {
    const { kind, spoil, details } = pick(BAD_SESSIONS);
    const { json, requestId } = post(PATH_SESSION, "session", kind, 400, spoil(body), pick(BROWSERS), first);
    check(json, {
      [`session, ${kind}: VALIDATION_ERROR and its details`]: (j) =>
        refusal(j, requestId, "VALIDATION_ERROR", details),
    });
  } else if (chance < 0.38) {
    malformed(PATH_SESSION, "session", first);
  } else {
    const { json } = post(PATH_SESSION, "session", "visitor", 200, body, pick(BROWSERS), first);
    const data = (json && json.data) || {};
    check(json, {
      "session, visitor: {id, createdAt} and nothing else": (j) =>
        same(j, { success: true, data: { id: data.id, createdAt: data.createdAt } }),
      "session, visitor: id is a UUIDv7": () => UUID_V7.test(data.id),
      "session, visitor: createdAt is an instant in UTC": () => INSTANT.test(data.createdAt),
    });
  }
}

const BAD_CONSENTS = [
  {
    kind: "empty object",
    body: {},
    details: ["analytics", "marketing", "functional"].map((field) => wrong(field, "must be a boolean value")),
  },
  {
    kind: "a word for a boolean",
    body: { analytics: true, marketing: "false", functional: true },
    details: [wrong("marketing", "must be a boolean value")],
  },
  {
    kind: "null and a number",
    body: { analytics: null, marketing: true, functional: 1 },
    details: [wrong("analytics", "must be a boolean value"), wrong("functional", "must be a boolean value")],
  },
];

export function consent({ first }) {
  const chance = Math.random();
  if (chance < 0.15) {
    const { kind, body, details } = pick(BAD_CONSENTS);
    const { json, requestId } = post(PATH_CONSENT, "consent", kind, 400, body, pick(BROWSERS), first);
    check(json, {
      [`consent, ${kind}: VALIDATION_ERROR and its details`]: (j) =>
        refusal(j, requestId, "VALIDATION_ERROR", details),
    });
  } else if (chance < 0.2) {
    malformed(PATH_CONSENT, "consent", first);
  } else {
    // A refusal is a choice, and is kept like one; so is a bot's.
    const body = {
      analytics: Math.random() < 0.5,
      marketing: Math.random() < 0.5,
      functional: Math.random() < 0.5,
    };
    const [kind, userAgent] = Math.random() < 0.1 ? ["bot", pick(BOTS)] : ["visitor", pick(BROWSERS)];
    const { json } = post(PATH_CONSENT, "consent", kind, 200, body, userAgent, first);
    check(json, {
      [`consent, ${kind}: {saved: true}`]: (j) => same(j, { success: true, data: { saved: true } }),
    });
  }
}

export function handleSummary(data) {
  const lines = ["", `Weir, ${PROFILE} at ${BASE_URL}`, ""];
  const value = (metric, key) => (data.metrics[metric] ? data.metrics[metric].values[key] : undefined);
  const ms = (n) => (n === undefined ? "-" : `${n.toFixed(1)} ms`).padStart(10);

  lines.push(`requests   ${value("http_reqs", "count") || 0}, ${(value("http_reqs", "rate") || 0).toFixed(1)} a second`);
  lines.push(`unstarted  ${value("dropped_iterations", "count") || 0}`);
  lines.push("", `${"latency".padEnd(10)}${["median", "p95", "p99", "max"].map((name) => name.padStart(10)).join("")}`);
  for (const route of ["session", "consent"]) {
    const metric = `http_req_duration{route:${route}}`;
    lines.push(route.padEnd(10) + ["med", "p(95)", "p(99)", "max"].map((key) => ms(value(metric, key))).join(""));
  }

  lines.push("", "checks");
  const checks = [...data.root_group.checks].sort((a, b) => a.name.localeCompare(b.name));
  for (const { name, passes, fails } of checks) {
    lines.push(`  ${fails === 0 ? "ok    " : "FAILED"} ${name}: ${fails === 0 ? passes : `${fails} of ${passes + fails}`}`);
  }

  lines.push("", "thresholds");
  let failed = false;
  for (const [metric, { thresholds }] of Object.entries(data.metrics)) {
    for (const [rule, { ok }] of Object.entries(thresholds || {})) {
      failed = failed || !ok;
      lines.push(`  ${ok ? "ok    " : "FAILED"} ${metric} ${rule}`);
    }
  }
  lines.push("", failed ? "FAILED" : "passed", "");
  return { stdout: lines.join("\n") };
}
