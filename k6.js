// The traffic of real visitors against a running Weir: k6 run k6.js
//
//   BASE_URL               where it listens; http://127.0.0.1:8080 unless given
//   PROFILE                smoke (unless given), load, stress, spike or soak: load-tests/k6/profiles.js has their figures
//   RATE, DURATION         visitors a second at the highest, and how long; the profile's own unless given
//   THINK                  a factor on the pauses between a visitor's steps; 0 for none
//   TRACKING_HMAC_SECRET   makes the tracking tokens of bio pages
//   JWT_SECRET             makes the access tokens of signed-in users
//   INTERNAL_KEY           makes users, so that there is an attribution to read
//   SIGN_IN                0 leaves out /auth, which is not there where only a public key is configured
//   SUMMARY                writes SUMMARY.json and SUMMARY.html
//   PRINT_IDS              1 prints the id of all that was acknowledged
//
// Each by -e NAME=VALUE or from the environment, where a secret is better off. What a secret that is not given would make
// is left out, and the summary says so.
//
// A visitor is one iteration: a token, a session, views, heartbeats, leaving, consent, sign-in; some are bots, some have
// not consented, some forge, some send what no client should send. load-tests/k6/journeys.js has the mix. Every answer is
// checked word for word where it is fixed, and for its form where it is not.
//
// Each visitor comes from an address of its own, named in X-Forwarded-For, so that no throttle is met but by who means to.
// Weir believes that header only from a trusted proxy; loopback and private networks are trusted unless configured
// otherwise. All of it is stored: this is not for a Weir whose numbers mean something.
//
// Written for k6 1.0 or later and so far tried on Node.js alone: load-tests/k6/run takes that where there is no k6.
import http from "k6/http";
import exec from "k6/execution";

import { visit } from "./load-tests/k6/journeys.js";
import { firstAddress, visitor } from "./load-tests/k6/people.js";
import { BASE_URL, SUMMARY, plan } from "./load-tests/k6/profiles.js";
import { html, report, text } from "./load-tests/k6/summary.js";

export const options = plan();

// Whether it is there, and which version of the privacy policy it asks consent to.
export async function setup() {
  const ready = await http.asyncRequest("GET", `${BASE_URL}/health/ready`, null, { tags: { route: "setup" } });
  if (ready.status !== 200) throw new Error(`no Weir is ready at ${BASE_URL}: ${ready.status} ${ready.error || ready.body}`);
  const status = await http.asyncRequest("GET", `${BASE_URL}/api/v1/consent/cookies/status`, null, { tags: { route: "setup" } });
  const answer = JSON.parse(status.body);
  if (status.status !== 200) throw new Error(`the consent status is answered with ${status.body}`);
  return { first: firstAddress(), version: answer.data.currentVersion };
}

export default async function (shared) {
  await visit(visitor(shared.first, exec.scenario.iterationInTest), shared);
}

export function handleSummary(summary) {
  const found = report(summary);
  const files = { stdout: text(found) };
  if (SUMMARY) {
    files[`${SUMMARY}.json`] = `${JSON.stringify(found, null, 2)}\n`;
    files[`${SUMMARY}.html`] = html(found);
  }
  return files;
}
