// What a run is: its rate, its length, its shape, and what counts as good.

const given = (name, otherwise) => {
  const value = __ENV[name];
  return value === undefined || value === "" ? otherwise : value;
};

export const BASE_URL = given("BASE_URL", "http://127.0.0.1:8080").replace(/\/+$/, "");
export const PROFILE = given("PROFILE", "smoke");
export const SUMMARY = given("SUMMARY", null);
export const PRINT_IDS = given("PRINT_IDS", "0") !== "0";
export const SIGN_IN = given("SIGN_IN", "1") !== "0";
export const SECRETS = {
  tracking: given("TRACKING_HMAC_SECRET", null),
  jwt: given("JWT_SECRET", null),
  internal: given("INTERNAL_KEY", null),
};

// Milliseconds of the 95th and the 99th of a hundred answers: of what only writes to the journal, and of what reads the
// main database, which waits until everything that was acknowledged before has arrived there.
const QUICK = { write: [100, 250], read: [250, 500] };
const PATIENT = { write: [250, 500], read: [500, 1000] };
const PRESSED = { write: [1000, 2500], read: [2500, 5000] };

const ALL = { failed: 0, accepted: 1, checks: 1, unstarted: 0 };
const NEARLY_ALL = { failed: 0.001, accepted: 0.999, checks: 0.999, unstarted: 0.001 };
const MOST = { failed: 0.01, accepted: 0.99, checks: 0.99, unstarted: 0.01 };

// rate: visitors a second where the profile is highest. think: by how much the pauses of a visitor are stretched.
const PROFILES = {
  smoke: { shape: "steady", rate: 15, duration: "20s", think: 0.1, limits: { ...ALL, ...PATIENT } },
  load: { shape: "steady", rate: 50, duration: "5m", think: 1, limits: { ...NEARLY_ALL, ...QUICK } },
  stress: { shape: "stairs", rate: 200, duration: "5m", think: 0.1, limits: { ...MOST, ...PRESSED } },
  spike: { shape: "spike", rate: 200, duration: "3m", think: 0.1, limits: { ...MOST, ...PRESSED } },
  soak: { shape: "steady", rate: 30, duration: "1h", think: 1, limits: { ...NEARLY_ALL, ...QUICK } },
};

// Parts of the duration, each with the part of the rate that it ends at.
const SHAPES = {
  stairs: { start: 0.1, parts: [0.25, 0.5, 0.75, 1].flatMap((to) => [[0.1, to], [0.15, to]]) },
  spike: { start: 0.1, parts: [[0.3, 0.1], [0.03, 1], [0.3, 1], [0.03, 0.1], [0.34, 0.1]] },
};

// The routes, as Weir's metrics name them. `read`: waits for the main database. `stores`: an answer promises a record.
const ROUTES = {
  track_init: { stores: true },
  session: { stores: true },
  pageview: { stores: true },
  heartbeat: { stores: true },
  leave: { stores: true },
  batch: { stores: true },
  consent: { stores: true },
  consent_policy: {},
  auth_code: { read: true, needs: "signIn" },
  auth_verify: { read: true, needs: "signIn" },
  identify: { stores: true, needs: "jwt" },
  track: { stores: true, needs: "jwt" },
  consent_status: { read: true, needs: "jwt" },
  consent_history: { read: true, needs: "jwt" },
  attribution: { read: true, needs: "jwt" },
  internal_users: { read: true, needs: "internal" },
};

function chosen() {
  const profile = PROFILES[PROFILE];
  if (!profile) throw new Error(`PROFILE is ${PROFILE}: there are ${Object.keys(PROFILES).join(", ")}`);
  const rate = Number(given("RATE", profile.rate));
  if (!Number.isInteger(rate) || rate < 1) throw new Error(`RATE is ${__ENV.RATE}: it is visitors a second, a whole number`);
  const think = Number(given("THINK", profile.think));
  if (!(think >= 0)) throw new Error(`THINK is ${__ENV.THINK}: it is a factor on the pauses, such as 0.5, or 0 for none`);
  const duration = given("DURATION", profile.duration);
  return { ...profile, rate, think, duration, seconds: seconds(duration) };
}

function seconds(text) {
  const units = { h: 3600, m: 60, s: 1 };
  const parts = /^(\d+h)?(\d+m)?(\d+s)?$/.exec(text);
  const total = (parts || []).slice(1).reduce((sum, part) => sum + (part ? parseInt(part, 10) * units[part.slice(-1)] : 0), 0);
  if (total === 0) throw new Error(`DURATION is ${text}: it is a time such as 90s, 5m or 1h30m`);
  return total;
}

export const profile = chosen();

// How many visitors there will be.
export const planned = (() => {
  const shape = SHAPES[profile.shape];
  if (!shape) return profile.rate * profile.seconds;
  let [from, total] = [shape.start, 0];
  for (const [length, to] of shape.parts) {
    total += (length * (from + to)) / 2;
    from = to;
  }
  return Math.round(total * profile.rate * profile.seconds);
})();

// What each part of the traffic needs. A user that is made is asked for afterwards, which takes both.
const THERE = { signIn: SIGN_IN, jwt: SECRETS.jwt, internal: SECRETS.jwt && SECRETS.internal };
export const routes = Object.keys(ROUTES).filter((route) => !ROUTES[route].needs || THERE[ROUTES[route].needs]);

function scenario() {
  const { rate, think, duration } = profile;
  // A visit takes five seconds at most when nobody hurries.
  const users = Math.ceil(rate * (5 * think + 0.4)) + 20;
  const common = { preAllocatedVUs: users, maxVUs: users * 4, timeUnit: "1s", gracefulStop: "30s" };
  const shape = SHAPES[profile.shape];
  if (!shape) return { executor: "constant-arrival-rate", rate, duration, ...common };
  return {
    executor: "ramping-arrival-rate",
    startRate: Math.ceil(rate * shape.start),
    stages: shape.parts.map(([length, to]) => ({
      duration: `${Math.round(length * profile.seconds * 1000)}ms`,
      target: Math.ceil(rate * to),
    })),
    ...common,
  };
}

function thresholds() {
  const { limits } = profile;
  const all = {
    checks: [`rate>=${limits.checks}`],
    dropped_iterations: [`count<=${Math.floor(planned * limits.unstarted)}`],
  };
  for (const route of routes) {
    const [p95, p99] = ROUTES[route].read ? limits.read : limits.write;
    all[`http_reqs{route:${route}}`] = ["count>0"];
    // An answer is failed when its status is not the one that was asked for: the 400 for an invalid body is as right as
    // the 200 for a valid one.
    all[`http_req_failed{route:${route}}`] = [`rate<=${limits.failed}`];
    all[`http_req_duration{route:${route}}`] = [`p(95)<${p95}`, `p(99)<${p99}`];
    if (ROUTES[route].stores) all[`accepted{route:${route}}`] = [`rate>=${limits.accepted}`];
  }
  return all;
}

export const plan = () => ({
  scenarios: { visitors: scenario() },
  thresholds: thresholds(),
  summaryTrendStats: ["min", "med", "p(95)", "p(99)", "max"],
});

// What is not asked for, and what it would take.
export function leftOut() {
  const list = [];
  if (!SECRETS.tracking) list.push("bio pages with a valid token (TRACKING_HMAC_SECRET)");
  if (!SECRETS.jwt) list.push("signed-in users (JWT_SECRET)");
  if (!THERE.internal) list.push(`users with an attribution (${SECRETS.jwt ? "" : "JWT_SECRET and "}INTERNAL_KEY)`);
  if (!SIGN_IN) list.push("sign-ins (SIGN_IN is 0)");
  return list;
}
