// One request and what every answer must be, and the account of what was promised.
import http from "k6/http";
import { check } from "k6";
import { Counter, Rate } from "k6/metrics";
import { setTimeout } from "k6/timers";

import { uuid } from "./people.js";
import { BASE_URL, PRINT_IDS, profile } from "./profiles.js";

// What was asked to be stored, and what became of it.
const sent = new Counter("records_sent");
const refused = new Counter("records_refused");
const unanswered = new Counter("records_unanswered");
export const ACKNOWLEDGED = ["visitor", "session", "view", "heartbeat", "leave", "identity", "event", "consent", "user"];
const acknowledged = {};
for (const kind of ACKNOWLEDGED) acknowledged[kind] = new Counter(`acknowledged_${kind}`);
// Of what a route was asked to store, how much it promised.
const accepted = new Rate("accepted");

export const wait = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

// Between two steps of a visitor, about so many seconds.
export async function pause(seconds) {
  if (profile.think > 0) await wait(seconds * profile.think * (0.5 + Math.random()));
}

// Asks, and checks what holds for every answer. `kind` says in a word what is special about this one.
export async function ask(visitor, request) {
  const { method = "POST", path, route, kind, status = 200, body, type = "application/json", bearer, key } = request;
  const requestId = uuid();
  const headers = { "User-Agent": visitor.userAgent, "X-Forwarded-For": visitor.address, "X-Request-Id": requestId };
  let content = null;
  if (body !== undefined) {
    content = typeof body === "string" ? body : JSON.stringify(body);
    headers["Content-Type"] = type;
  }
  if (bearer) headers.Authorization = `Bearer ${bearer}`;
  if (key) headers["X-Internal-Key"] = key;
  const response = await http.asyncRequest(method, BASE_URL + path, content, {
    headers,
    tags: { name: `${route}: ${kind}`, route },
    responseCallback: http.expectedStatuses(status),
    timeout: "10s",
  });
  let json = null;
  try {
    json = JSON.parse(response.body);
  } catch (_) {
    // The checks say that it is no JSON.
  }
  // On every answer of a throttled route, whatever it says. The numbers are configurable, and a limit of 0 leaves both
  // headers out.
  const policy = response.headers["Ratelimit-Policy"];
  const limit = response.headers["Ratelimit"];
  check(response, {
    [`${route}, ${kind}: status ${status}`]: (r) => r.status === status,
    [`${route}: answers in JSON`]: (r) => json !== null && /^application\/json\b/.test(r.headers["Content-Type"]),
    [`${route}: echoes X-Request-Id`]: (r) => r.headers["X-Request-Id"] === requestId,
    [`${route}: names its limit`]: () =>
      policy === undefined
        ? limit === undefined
        : policy.startsWith(`"${route}";q=`) && /;q=\d+;w=\d+$/.test(policy) && /^"[^"]+";r=\d+;t=\d+$/.test(limit),
  });
  return { json, requestId, status: response.status, headers: response.headers, answered: response.status !== 0 };
}

// Notes what became of one record. `id` is what it can be found by afterwards.
export function note(kind, route, answer, promised, id) {
  sent.add(1);
  accepted.add(promised, { route });
  if (promised) {
    acknowledged[kind].add(1);
    if (PRINT_IDS) console.log(`acknowledged ${kind} ${id}`);
  } else if (answer.answered) {
    refused.add(1);
  } else {
    unanswered.add(1);
  }
  return promised;
}

// A fixed answer, word for word.
export function expect(name, actual, expected) {
  return check(actual, { [name]: (found) => same(found, expected) });
}

// The same keys and the same values, in any order.
export function same(a, b) {
  if (a === null || b === null || typeof a !== "object" || typeof b !== "object") return a === b;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => key in b && same(a[key], b[key]));
}

// What /api/v1 says of what it does.
export const data = (value) => ({ success: true, data: value });

// What /api/v1 says of what it refuses.
export const error = (requestId, code, message, i18nKey, details) => ({
  success: false,
  error: { code, message, i18nKey, i18nVars: {}, details: details || [], correlationId: requestId },
});

export const UUID_V7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
export const INSTANT = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;
