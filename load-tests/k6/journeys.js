// The mix: who comes how often, and what each of them does.
import { check } from "k6";

import { INSTANT, UUID_V7, ask, data, expect, note, pause, same, wait } from "./client.js";
import { asBot, pick, sessionOf, uuid } from "./people.js";
import { SECRETS, SIGN_IN } from "./profiles.js";
import { forgedBearer, hasty, invalid, lost, malformed, signIn } from "./refusals.js";
import {
  attribution, begin, beginInVain, beginOnBioPage, choice, consent, consentHistory, consentStatus, heartbeat, identify, init,
  initAgain, leave, makeUser, noAttribution, policy, track, view, viewInVain,
} from "./steps.js";
import { accessToken } from "./tokens.js";

// One page, read for a while.
async function reader(visitor) {
  await init(visitor);
  const session = await begin(visitor);
  if (session) await read(visitor, session);
}

async function read(visitor, session, method = "PATCH") {
  const page = await view(visitor, session, 0);
  await pause(1.5);
  await heartbeat(visitor, session);
  await pause(1);
  if (page) await leave(visitor, page, method);
}

// Three pages. The next view ends the one before; only the last one is left, by the beacon of a closed tab.
async function wanderer(visitor) {
  const known = await init(visitor);
  const session = await begin(visitor);
  if (!session) return;
  let last = null;
  for (let page = 0; page < 3; page++) {
    last = await view(visitor, session, page);
    await pause(0.8);
  }
  if (known) await initAgain(visitor, known.token);
  if (last) await leave(visitor, last, "POST");
}

// From a bio page, whose renderer vouches for the visit.
async function follower(visitor) {
  if (!SECRETS.tracking) return reader(visitor);
  const session = await beginOnBioPage(visitor, uuid());
  if (session) await read(visitor, session, "POST");
}

// Signed in, with a history.
async function member(visitor, turn, setup) {
  if (!SECRETS.jwt) return reader(visitor);
  const user = `k6-${uuid()}`;
  const bearer = accessToken(SECRETS.jwt, user);
  const known = await init(visitor);
  const session = await begin(visitor);
  if (session) await identify(visitor, session, bearer, user);
  await track(visitor, "signed_up", session, bearer, user);
  await pause(0.5);
  const current = { currentVersion: setup.version };
  await consentStatus(visitor, "before a choice", bearer, { ...current, userVersion: null, requiresReConsent: true });
  await consent(visitor, "member", choice(), bearer, user);
  await consentStatus(visitor, "after a choice", bearer, { ...current, userVersion: setup.version, requiresReConsent: false });
  await consentHistory(visitor, bearer, setup.version);
  await pause(0.5);
  if (SECRETS.internal && known && (await makeUser(visitor, user, known.token))) {
    await attribution(visitor, bearer, known.origin);
  } else {
    await noAttribution(visitor, bearer);
  }
  if (session) await view(visitor, session, 0);
  await track(visitor, "upgraded", session, bearer, user);
}

// Answers the cookie banner before anything else.
async function chooser(visitor) {
  await policy(visitor);
  await pause(1);
  await consent(visitor, "visitor", choice());
  const session = await begin(visitor);
  if (session) await view(visitor, session, 0);
}

// Was offline for a minute, brings it all at once, and brings it again as if the answer had been lost.
async function traveller(visitor) {
  const key = uuid();
  const items = [
    { type: "session", key: `${key}-1`, ageMs: 60000, body: sessionOf(visitor) },
    { type: "pageview", key: `${key}-2`, ageMs: 59000, sessionRef: 0, body: { url: visitor.url(0) } },
    { type: "heartbeat", key: `${key}-3`, ageMs: 29000, sessionRef: 0 },
    { type: "leave", key: `${key}-4`, ageMs: 1000, viewRef: 1, body: { duration: 58, scrollDepth: 100 } },
  ];
  const send = (kind) => ask(visitor, { path: "/api/v1/analytics/batch", route: "batch", kind, body: { items } });
  let answer = await send("first");
  // Who gets no answer tries again; the keys make that safe.
  for (let attempt = 1; !answer.answered && attempt < 5; attempt++) {
    await wait(1);
    answer = await send("first");
  }
  const results = (answer.json && answer.json.data && answer.json.data.results) || [];
  const [session, page] = results.map((result) => result.data || {});
  const done = (at) => results.length === 4 && same(results[at], { status: 200, data: { ok: true } });
  const stored = {
    session: session !== undefined && UUID_V7.test(session.id) && INSTANT.test(session.createdAt),
    view: page !== undefined && UUID_V7.test(page.id),
    heartbeat: done(2),
    leave: done(3),
  };
  note("session", "batch", answer, stored.session, session && session.id);
  note("view", "batch", answer, stored.view, page && page.id);
  note("heartbeat", "batch", answer, stored.heartbeat, session && session.id);
  note("leave", "batch", answer, stored.leave, page && page.id);
  const all = check(answer.json, {
    "batch, first: a result for each, and nothing else": (j) =>
      Object.values(stored).every((is) => is) &&
      same(j, data({
        results: [
          { status: 200, data: { id: session.id, createdAt: session.createdAt } },
          { status: 200, data: { id: page.id } },
          { status: 200, data: { ok: true } },
          { status: 200, data: { ok: true } },
        ],
      })),
  });
  if (!all) return;
  await pause(0.5);
  expect("batch, again: the first answer", (await send("again")).json, answer.json);
}

async function crawler(visitor) {
  const bot = asBot(visitor);
  await beginInVain(bot, "bot", {});
  await viewInVain(bot, "bot", uuid());
  await consent(bot, "bot", choice());
}

// Declines. Only the exact word counts; JSON leaves out what is undefined.
async function decliner(visitor) {
  await consent(visitor, "decliner", { analytics: false, marketing: false, functional: false });
  await beginInVain(visitor, "no consent", { consentAnalytics: pick(["denied", "Granted", "", null, undefined]) });
  await viewInVain(visitor, "no session", "null");
}

async function forger(visitor) {
  await beginInVain(visitor, "forged token", { bioPageId: uuid(), trackingToken: pick(["0".repeat(32), "", uuid()]) });
  await beginInVain(visitor, "no token", { bioPageId: uuid() });
  await forgedBearer(visitor);
}

async function careless(visitor, turn) {
  for (let step = 0; step < 4; step++) await invalid(visitor, turn * 4 + step);
}

async function broken(visitor, turn) {
  for (let step = 0; step < 4; step++) await malformed(visitor, turn * 4 + step);
  await lost(visitor);
}

async function guesser(visitor) {
  if (!SIGN_IN) return reader(visitor);
  const guess = await signIn(visitor);
  await pause(1);
  await guess();
}

// Of a hundred visitors.
const MIX = [
  [reader, 28], [wanderer, 16], [follower, 14], [member, 12], [chooser, 6], [traveller, 6],
  [crawler, 6], [decliner, 4], [forger, 2], [careless, 2], [broken, 1], [hasty, 1], [guesser, 2],
];

const SEATS = MIX.flatMap(([journey, share]) =>
  Array.from({ length: share }, (_, nth) => ({ journey, share, nth })));
if (SEATS.length !== 100) throw new Error(`the mix is of ${SEATS.length}`);

// Every hundred visitors are exactly the mix, and spread over it: 37 and 100 have no divisor in common.
export async function visit(visitor, setup) {
  const { journey, share, nth } = SEATS[(visitor.number * 37) % 100];
  await journey(visitor, Math.floor(visitor.number / 100) * share + nth, setup);
}

