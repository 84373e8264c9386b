// What is refused, and in which words.
import { check } from "k6";

import { ask, error, expect } from "./client.js";
import { pick, sessionOf, uuid } from "./people.js";
import { SIGN_IN } from "./profiles.js";
import { accessToken } from "./tokens.js";

const SESSION = "/api/v1/analytics/session";
const PAGEVIEW = "/api/v1/analytics/pageview";
const LEAVE = `${PAGEVIEW}/0190a1b2-0000-7000-8000-000000000000/leave`;
const BATCH = "/api/v1/analytics/batch";
const TRACK = "/api/v1/analytics/track";
const CONSENT = "/api/v1/consent/cookies";

const wrong = (field, rule) => ({ field, message: `${field} ${rule}` });
const NUMBER = "must be a number conforming to the specified constraints";

function asked([route]) {
  return SIGN_IN || !route.startsWith("auth_");
}

// Bodies that break a rule: route, path, what is special, body, and every detail in its order.
const INVALID = [
  ["session", SESSION, "no visitorId", (v) => ({ ...sessionOf(v), visitorId: undefined }),
    [wrong("visitorId", "should not be empty"), wrong("visitorId", "must be a string")]],
  ["session", SESSION, "empty landingPage", (v) => ({ ...sessionOf(v), landingPage: "" }),
    [wrong("landingPage", "should not be empty")]],
  ["session", SESSION, "three bad fields",
    (v) => ({ ...sessionOf(v), osVersion: "1".repeat(21), screenWidth: 7681, screenHeight: -1 }),
    [wrong("osVersion", "must be shorter than or equal to 20 characters"),
      wrong("screenWidth", "must not be greater than 7680"), wrong("screenHeight", "must not be less than 0")]],
  ["session", SESSION, "half a pixel", (v) => ({ ...sessionOf(v), screenWidth: 390.5 }),
    [wrong("screenWidth", "must be an integer number")]],
  ["session", SESSION, "a NUL character", (v) => ({ ...sessionOf(v), referrer: "https://example.org/\u0000" }),
    [wrong("referrer", "must not contain a NUL character")]],
  ["consent", CONSENT, "empty object", () => ({}),
    ["analytics", "marketing", "functional"].map((field) => wrong(field, "must be a boolean value"))],
  ["consent", CONSENT, "a word for a boolean", () => ({ analytics: true, marketing: "false", functional: true }),
    [wrong("marketing", "must be a boolean value")]],
  ["consent", CONSENT, "null and a number", () => ({ analytics: null, marketing: true, functional: 1 }),
    [wrong("analytics", "must be a boolean value"), wrong("functional", "must be a boolean value")]],
  ["pageview", PAGEVIEW, "no sessionId", (v) => ({ url: v.url(0) }), [wrong("sessionId", "must be a string")]],
  ["pageview", PAGEVIEW, "no url", () => ({ sessionId: uuid() }),
    [wrong("url", "should not be empty"), wrong("url", "must be a string")]],
  ["pageview", PAGEVIEW, "a url without end", () => ({ sessionId: uuid(), url: "u".repeat(8193) }),
    [wrong("url", "must be shorter than or equal to 8192 characters")]],
  ["leave", LEAVE, "no duration", () => ({ scrollDepth: 50 }), [wrong("duration", NUMBER)]],
  ["leave", LEAVE, "words for numbers", () => ({ duration: "12", scrollDepth: "all" }),
    [wrong("duration", NUMBER), wrong("scrollDepth", NUMBER)]],
  ["batch", BATCH, "no items", () => ({}), [wrong("items", "must be an array")]],
  ["batch", BATCH, "an empty list", () => ({ items: [] }), [wrong("items", "must contain at least 1 elements")]],
  ["batch", BATCH, "101 items", () => ({ items: new Array(101).fill({ type: "heartbeat", id: "x" }) }),
    [wrong("items", "must contain no more than 100 elements")]],
  ["track_init", "/track/init", "a number for a source", () => ({ utmSource: 7 }), [wrong("utmSource", "must be a string")]],
  ["auth_code", "/auth/request-code", "no address", () => ({ email: "nobody" }), [wrong("email", "must be an email")]],
].filter(asked);

// One after the other, so that a run of some length has had all of them.
export async function invalid(visitor, turn) {
  const [route, path, kind, body, details] = INVALID[turn % INVALID.length];
  const { json, requestId } = await ask(visitor, { path, route, kind, status: 400, body: body(visitor) });
  expect(`${route}, ${kind}: VALIDATION_ERROR and its details`, json,
    path.startsWith("/api/v1/")
      ? error(requestId, "VALIDATION_ERROR", "Validation failed", "error.validation", details)
      : { message: "error.validation", details });
}

const PARSED = [
  ["session", SESSION], ["consent", CONSENT], ["pageview", PAGEVIEW], ["leave", LEAVE], ["batch", BATCH],
  ["track_init", "/track/init"], ["auth_code", "/auth/request-code"], ["auth_verify", "/auth/verify"],
].filter(asked);

// A body that is no JSON is answered with the place of the mistake, and not with the body itself.
export async function malformed(visitor, turn) {
  const [route, path] = PARSED[turn % PARSED.length];
  const { json, requestId } = await ask(visitor, { path, route, kind: "malformed", status: 400, body: '{"secretOfMine": tru' });
  const message = "Malformed JSON at line 1 column 20";
  expect(`${route}, malformed: MALFORMED_JSON with line and column, no echo`, json,
    path.startsWith("/api/v1/")
      ? error(requestId, "MALFORMED_JSON", message, "error.json.malformed", [{ message }])
      : { message: "error.json.malformed", details: [{ message }] });
}

// More than an address may: the last heartbeat is refused. What the limit is, the first answer says.
export async function hasty(visitor) {
  const path = `${SESSION}/0190a1b2-0000-7000-8000-000000000000/heartbeat`;
  const beat = (kind, status) => ask(visitor, { method: "PATCH", path, route: "heartbeat", kind, status });
  const first = await beat("nobody's", 200);
  const policy = /;q=(\d+);w=\d+$/.exec(first.headers["Ratelimit-Policy"] || "");
  const quota = policy ? Number(policy[1]) : Infinity;
  if (quota > 30) return;
  for (let count = 1; count < quota; count++) await beat("nobody's", 200);
  const { json, requestId, headers } = await beat("throttled", 429);
  expect("heartbeat, throttled: THROTTLE_LIMIT_EXCEEDED", json,
    error(requestId, "THROTTLE_LIMIT_EXCEEDED", "Too many requests", "error.throttle.limit_exceeded"));
  check(headers, {
    "heartbeat, throttled: Retry-After in seconds": (h) => /^[1-9]\d*$/.test(h["Retry-After"]),
    "heartbeat, throttled: none remain": (h) => /;r=0;t=\d+$/.test(h.Ratelimit),
  });
}

const unauthorized = (requestId) => error(requestId, "AUTH_UNAUTHORIZED", "Sign in first", "auth.unauthorized");

// Access tokens that nobody who may has signed.
export async function forgedBearer(visitor) {
  const bearer = pick([accessToken("not the secret", "alice"), "x", accessToken("", "alice").replace(/[^.]*$/, "")]);
  const { json, requestId, headers } = await ask(visitor, {
    path: TRACK, route: "track", kind: "forged bearer", status: 401, bearer, body: { event: "stolen" },
  });
  expect("track, forged bearer: AUTH_UNAUTHORIZED", json, unauthorized(requestId));
  check(headers, { "track, forged bearer: WWW-Authenticate": (h) => h["Www-Authenticate"] === "Bearer" });
}

// What no client should ask: another method, another type, another place.
export async function lost(visitor) {
  const ways = [
    {
      method: "GET", path: SESSION, route: "session", kind: "a wrong method", status: 405, allow: "POST",
      says: ["METHOD_NOT_ALLOWED", "This route does not have that method", "error.method.not_allowed"],
    },
    {
      path: "/api/v1/analytics/nothing", route: "other", kind: "nowhere", status: 404, body: {},
      says: ["NOT_FOUND", "There is no such route", "error.route.not_found"],
    },
    {
      path: CONSENT, route: "consent", kind: "a wrong type", status: 415,
      body: "analytics=true", type: "application/x-www-form-urlencoded",
      says: [
        "UNSUPPORTED_MEDIA_TYPE",
        "Send JSON in UTF-8 as application/json or text/plain, plain or as gzip, br or zstd",
        "error.media_type.unsupported",
      ],
    },
  ];
  for (const { says, allow, ...way } of ways) {
    const { json, requestId, headers } = await ask(visitor, way);
    expect(`${way.route}, ${way.kind}: ${says[0]}`, json, error(requestId, ...says));
    if (allow) check(headers, { [`${way.route}, ${way.kind}: Allow`]: (h) => h.Allow === allow });
  }
}

// The code of a sign-in stands in a mail or in the server's log; this one is guessed.
export async function signIn(visitor) {
  // Mail to this domain goes nowhere (RFC 2606).
  const email = `${uuid()}@example.invalid`;
  const asked = await ask(visitor, { path: "/auth/request-code", route: "auth_code", kind: "visitor", body: { email } });
  expect("auth_code, visitor: {sent: true}", asked.json, { sent: true });
  return async () => {
    const { json } = await ask(visitor, {
      path: "/auth/verify", route: "auth_verify", kind: "a wrong code", status: 401, body: { email, code: "no code" },
    });
    expect("auth_verify, a wrong code: auth.code.invalid", json, { message: "auth.code.invalid" });
  };
}
