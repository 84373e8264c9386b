// What a visitor's browser asks for, one step at a time. Each step returns what the next one needs, or null.
import { check } from "k6";

import { INSTANT, UUID_V7, ask, data, error, expect, note, same } from "./client.js";
import { originOf, pick, sessionOf } from "./people.js";
import { SECRETS } from "./profiles.js";
import { trackingToken } from "./tokens.js";

const SESSION = "/api/v1/analytics/session";
const PAGEVIEW = "/api/v1/analytics/pageview";
const CONSENT = "/api/v1/consent/cookies";
const VISITOR_TOKEN = /^visitor_[0-9a-f]{32}$/;

// A token for who has none. Returns it with what was said of the origin.
export async function init(visitor) {
  const origin = originOf(visitor);
  const answer = await ask(visitor, { path: "/track/init", route: "track_init", kind: "new", body: origin });
  const { token, isNew } = answer.json || {};
  check(answer.json, {
    "track_init, new: {token, isNew} and nothing else": (j) => same(j, { token, isNew }),
    "track_init, new: a visitor's token": () => VISITOR_TOKEN.test(token),
    "track_init, new: isNew": () => isNew === true || (!visitor.unknown && isNew === false),
  });
  // Who is recognised was stored before.
  if (isNew !== false) note("visitor", "track_init", answer, VISITOR_TOKEN.test(token), token);
  return VISITOR_TOKEN.test(token) ? { token, origin } : null;
}

export async function initAgain(visitor, token) {
  const answer = await ask(visitor, {
    path: "/track/init", route: "track_init", kind: "known", body: { token, utmTerm: "again" },
  });
  expect("track_init, known: the same token", answer.json, { token, isNew: false });
}

// A session that is to be stored. Returns its id.
export async function begin(visitor, kind = "visitor", more = {}) {
  const answer = await ask(visitor, { path: SESSION, route: "session", kind, body: { ...sessionOf(visitor), ...more } });
  const { id, createdAt } = (answer.json && answer.json.data) || {};
  const promised = UUID_V7.test(id);
  check(answer.json, {
    [`session, ${kind}: {id, createdAt} and nothing else`]: (j) => same(j, data({ id, createdAt })),
    [`session, ${kind}: id is a UUIDv7`]: () => promised,
    [`session, ${kind}: createdAt is an instant in UTC`]: () => INSTANT.test(createdAt),
  });
  note("session", "session", answer, promised, id);
  return promised ? id : null;
}

export const beginOnBioPage = (visitor, bioPageId) =>
  begin(visitor, "bio page", { bioPageId, trackingToken: trackingToken(SECRETS.tracking, bioPageId) });

// A session that is not to be stored, and does not say why.
export async function beginInVain(visitor, kind, more) {
  const answer = await ask(visitor, { path: SESSION, route: "session", kind, body: { ...sessionOf(visitor), ...more } });
  expect(`session, ${kind}: {id: null}`, answer.json, data({ id: null }));
}

export async function view(visitor, sessionId, page) {
  const body = { sessionId, url: visitor.url(page), title: `Page ${page}` };
  if (page > 0) body.referrer = visitor.url(page - 1);
  const answer = await ask(visitor, { path: PAGEVIEW, route: "pageview", kind: "visitor", body });
  const { id } = (answer.json && answer.json.data) || {};
  const promised = UUID_V7.test(id);
  check(answer.json, {
    "pageview, visitor: {id} and nothing else": (j) => same(j, data({ id })),
    "pageview, visitor: id is a UUIDv7": () => promised,
  });
  note("view", "pageview", answer, promised, id);
  return promised ? id : null;
}

export async function viewInVain(visitor, kind, sessionId) {
  const body = { sessionId, url: visitor.url(0) };
  const answer = await ask(visitor, { path: PAGEVIEW, route: "pageview", kind, body });
  expect(`pageview, ${kind}: {id: null}`, answer.json, data({ id: null }));
}

export async function heartbeat(visitor, sessionId) {
  const answer = await ask(visitor, {
    method: "PATCH", path: `${SESSION}/${sessionId}/heartbeat`, route: "heartbeat", kind: "visitor",
  });
  const done = expect("heartbeat, visitor: {ok: true}", answer.json, data({ ok: true }));
  note("heartbeat", "heartbeat", answer, done, sessionId);
}

const LEAVE = { PATCH: ["patch", "application/json"], POST: ["beacon", "text/plain;charset=UTF-8"] };

// By a PATCH, or as the beacon of a tab that is closed.
export async function leave(visitor, viewId, method = "PATCH") {
  const [kind, type] = LEAVE[method];
  const answer = await ask(visitor, {
    method, path: `${PAGEVIEW}/${viewId}/leave`, route: "leave", kind, type,
    body: { duration: Math.round(Math.random() * 400) / 10, scrollDepth: pick([0, 40, 85.5, 100]) },
  });
  note("leave", "leave", answer, expect(`leave, ${kind}: {ok: true}`, answer.json, data({ ok: true })), viewId);
}

const inBoth = (words) =>
  Boolean(words && words.en && words.tr) && same(words, { en: words.en, tr: words.tr });

export async function policy(visitor) {
  const answer = await ask(visitor, {
    method: "GET", path: `${CONSENT}/policy`, route: "consent_policy", kind: "visitor",
  });
  const { categories } = (answer.json && answer.json.data) || {};
  check(answer.json, {
    "consent_policy: {categories} and nothing else": (j) => same(j, data({ categories })),
    "consent_policy: the four": () =>
      Array.isArray(categories) &&
      same(categories.map(({ id, required }) => [id, required]),
        [["essential", true], ["functional", false], ["analytics", false], ["marketing", false]]),
    "consent_policy: each in two languages": () =>
      Array.isArray(categories) && categories.every(({ name, description }) => inBoth(name) && inBoth(description)),
  });
}

// A choice. A refusal is one too, and is kept like one; so is a bot's.
export async function consent(visitor, kind, choice, bearer, user) {
  const answer = await ask(visitor, { path: CONSENT, route: "consent", kind, body: choice, bearer });
  const saved = expect(`consent, ${kind}: {saved: true}`, answer.json, data({ saved: true }));
  note("consent", "consent", answer, saved, user || "anonymous");
}

export const choice = () => ({ analytics: Math.random() < 0.5, marketing: Math.random() < 0.5, functional: Math.random() < 0.5 });

export async function consentStatus(visitor, kind, bearer, expected) {
  const answer = await ask(visitor, { method: "GET", path: `${CONSENT}/status`, route: "consent_status", kind, bearer });
  expect(`consent_status, ${kind}`, answer.json, data(expected));
}

// Who has saved one choice sees that one.
export async function consentHistory(visitor, bearer, documentVersion) {
  const answer = await ask(visitor, {
    method: "GET", path: "/api/v1/users/consent", route: "consent_history", kind: "member", bearer,
  });
  const rows = (answer.json && answer.json.data) || [];
  const createdAt = rows.length === 1 ? rows[0].createdAt : null;
  check(answer.json, {
    "consent_history: the one that was saved": (j) =>
      same(j, data([{ documentType: "COOKIE_CONSENT", documentVersion, accepted: true, createdAt }])),
    "consent_history: createdAt is an instant in UTC": () => INSTANT.test(createdAt),
  });
}

export async function identify(visitor, sessionId, bearer, user) {
  const answer = await ask(visitor, {
    method: "PATCH", path: `${SESSION}/${sessionId}/identify`, route: "identify", kind: "member", bearer,
  });
  const done = expect("identify, member: {ok: true}", answer.json, data({ ok: true }));
  note("identity", "identify", answer, done, `${sessionId} ${user}`);
}

export async function track(visitor, event, sessionId, bearer, user) {
  const answer = await ask(visitor, {
    path: "/api/v1/analytics/track", route: "track", kind: "member", bearer,
    body: { event, sessionId, properties: { plan: pick(["free", "pro"]), seats: 3, nested: { a: [1, 2, null] } } },
  });
  const tracked = expect("track, member: {tracked: true}", answer.json, data({ tracked: true }));
  note("event", "track", answer, tracked, `${user} ${event}`);
}

// What an account service tells of a new user. Returns whether there is one now.
export async function makeUser(visitor, id, visitorToken) {
  const answer = await ask(visitor, {
    path: "/internal/v1/users", route: "internal_users", kind: "new", key: SECRETS.internal, body: { id, visitorToken },
  });
  const hashId = answer.json && answer.json.hashId;
  const made = check(answer.json, {
    "internal_users, new: {id, hashId, created: true}": (j) =>
      typeof hashId === "string" && hashId !== "" && same(j, { id, hashId, created: true }),
  });
  note("user", "internal_users", answer, made, id);
  return made;
}

export async function attribution(visitor, bearer, origin) {
  const answer = await ask(visitor, {
    method: "GET", path: "/api/v1/users/attribution", route: "attribution", kind: "member", bearer,
  });
  const found = (answer.json && answer.json.data) || {};
  const { registrationCountry, createdAt } = found;
  check(answer.json, {
    "attribution, member: what /track/init was told": (j) =>
      same(j, data({
        referredBy: null, referralCode: null, firstReferrerUrl: origin.referrer,
        firstLandingPage: /^https:\/\/[^/]+([^?#]*)/.exec(origin.landingUrl)[1], acquiredViaCreatorId: null,
        utmSource: origin.utmSource, utmMedium: origin.utmMedium, utmCampaign: origin.utmCampaign,
        utmTerm: null, utmContent: null, registrationDevice: visitor.device, registrationCountry, createdAt,
      })),
    "attribution, member: a country or none": () => registrationCountry === null || /^[A-Z]{2}$/.test(registrationCountry),
    "attribution, member: createdAt is an instant in UTC": () => INSTANT.test(createdAt),
  });
}

export async function noAttribution(visitor, bearer) {
  const { json, requestId } = await ask(visitor, {
    method: "GET", path: "/api/v1/users/attribution", route: "attribution", kind: "no such user", status: 404, bearer,
  });
  expect("attribution, no such user: USER_NOT_FOUND", json,
    error(requestId, "USER_NOT_FOUND", "There is no such user", "error.user.not_found"));
}
