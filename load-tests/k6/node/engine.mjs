// As much of k6 as k6.js uses: requests, checks, metrics with their thresholds, HMAC. Written for a script that awaits
// whatever takes time; all visitors share one thread and one state.
import { createHmac } from "node:crypto";
import { Agent as HttpAgent, request as httpRequest } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import { setTimeout as after } from "node:timers";

// --- metrics -----------------------------------------------------------------

class Counted {
  sum = 0;
  add(value) { this.sum += value; }
  values(seconds) { return { count: this.sum, rate: seconds > 0 ? this.sum / seconds : 0 }; }
}

class Rated {
  passes = 0;
  total = 0;
  add(value) { this.total += 1; if (value) this.passes += 1; }
  values() {
    return { rate: this.total > 0 ? this.passes / this.total : 0, passes: this.passes, fails: this.total - this.passes };
  }
}

class Trend {
  length = 0;
  numbers = new Float64Array(1024);
  add(value) {
    if (this.length === this.numbers.length) {
      const larger = new Float64Array(this.length * 2);
      larger.set(this.numbers);
      this.numbers = larger;
    }
    this.numbers[this.length++] = value;
  }
  values() {
    const sorted = this.numbers.slice(0, this.length).sort();
    const at = (share) => {
      if (sorted.length === 0) return 0;
      const place = share * (sorted.length - 1);
      const [low, high] = [Math.floor(place), Math.ceil(place)];
      return sorted[low] + (sorted[high] - sorted[low]) * (place - low);
    };
    const mean = sorted.reduce((sum, one) => sum + one, 0) / (sorted.length || 1);
    return { avg: mean, min: at(0), med: at(0.5), max: at(1), "p(90)": at(0.9), "p(95)": at(0.95), "p(99)": at(0.99) };
  }
}

const SINKS = { counter: Counted, rate: Rated, trend: Trend };

class Metric {
  constructor(type) {
    this.type = type;
    this.sink = new SINKS[type]();
    this.parts = [];
    this.used = false;
  }
  add(value, tags) {
    this.used = true;
    this.sink.add(value);
    for (const part of this.parts) {
      if (tags && tags[part.tag] === part.value) part.sink.add(value);
    }
  }
}

const metrics = new Map();
export function metric(name, type) {
  if (!metrics.has(name)) metrics.set(name, new Metric(type));
  const found = metrics.get(name);
  if (found.type !== type) throw new Error(`${name} is a ${found.type} and no ${type}`);
  return found;
}

class Custom {
  constructor(name, type) { this.metric = metric(name, type); }
  add(value, tags) { this.metric.add(Number(value), tags); }
}
export class Counter extends Custom { constructor(name) { super(name, "counter"); } }
export class Rate extends Custom { constructor(name) { super(name, "rate"); } }

const requests = metric("http_reqs", "counter");
const failures = metric("http_req_failed", "rate");
const durations = metric("http_req_duration", "trend");
const checked = metric("checks", "rate");
export const iterations = metric("iterations", "counter");
export const dropped = metric("dropped_iterations", "counter");

// Of "p(95)<250": which figure, how it is compared, with what.
const RULE = /^(count|rate|min|med|avg|max|p\(\d+\))\s*(<=|>=|==|<|>)\s*(\d+(?:\.\d+)?)$/;
const COMPARE = {
  "<": (a, b) => a < b, "<=": (a, b) => a <= b, ">": (a, b) => a > b, ">=": (a, b) => a >= b, "==": (a, b) => a === b,
};

// Before the first request: what a threshold asks of a part of a metric is counted from the beginning.
export function watch(thresholds) {
  return Object.entries(thresholds).map(([name, rules]) => {
    const [, base, tag, value] = /^([a-z_]+)(?:\{([a-z_]+):([a-z_]+)\})?$/.exec(name) || [];
    const whole = metrics.get(base);
    if (!whole) throw new Error(`no metric ${name}, for which there is a threshold`);
    let sink = whole.sink;
    if (tag) {
      sink = new SINKS[whole.type]();
      whole.parts.push({ tag, value, sink });
    }
    const parsed = rules.map((rule) => {
      const [, figure, operator, bound] = RULE.exec(rule) || [];
      if (!figure) throw new Error(`the threshold ${rule} is not understood`);
      return { rule, figure, operator, bound: Number(bound) };
    });
    return { name, type: whole.type, sink, rules: parsed };
  });
}

const checks = new Map();

// What handleSummary gets: each metric with its figures, and what became of the thresholds.
export function summarise(watched, seconds) {
  const found = {};
  for (const [name, { type, sink, used }] of metrics) {
    if (used) found[name] = { type, values: sink.values(seconds) };
  }
  for (const { name, type, sink, rules } of watched) {
    const values = sink.values(seconds);
    const thresholds = {};
    for (const { rule, figure, operator, bound } of rules) {
      if (!(figure in values)) throw new Error(`${name} has no ${figure}`);
      thresholds[rule] = { ok: COMPARE[operator](values[figure], bound) };
    }
    found[name] = { type, values, thresholds };
  }
  return { metrics: found, root_group: { checks: [...checks.values()] }, state: { testRunDurationMs: seconds * 1000 } };
}

// --- what the script imports -------------------------------------------------

export function check(value, sets) {
  let all = true;
  for (const [name, holds] of Object.entries(sets)) {
    let held = false;
    try {
      held = Boolean(holds(value));
    } catch (_) {
      // What cannot be looked at does not hold.
    }
    if (!checks.has(name)) checks.set(name, { name, passes: 0, fails: 0 });
    checks.get(name)[held ? "passes" : "fails"] += 1;
    checked.add(held ? 1 : 0);
    all &&= held;
  }
  return all;
}

export const execution = { scenario: { iterationInTest: 0 } };
export const setTimeout = after;

export const crypto = {
  hmac(algorithm, secret, text, encoding) {
    return createHmac(algorithm, secret).update(text).digest(encoding === "base64rawurl" ? "base64url" : encoding);
  },
};
export const encoding = { b64encode: (text, kind) => Buffer.from(text).toString(kind === "rawurl" ? "base64url" : "base64") };

const agents = {
  "http:": [httpRequest, new HttpAgent({ keepAlive: true, maxSockets: Infinity, maxFreeSockets: 4096 })],
  "https:": [httpsRequest, new HttpsAgent({ keepAlive: true, maxSockets: Infinity, maxFreeSockets: 4096 })],
};
// As Go writes them, which k6 is made of.
const canonical = (name) => name.replace(/(^|-)([a-z])/g, (_, dash, letter) => dash + letter.toUpperCase());
const milliseconds = (text) => Number.parseFloat(text) * (text.endsWith("ms") ? 1 : 1000);

function exchange(method, url, body, params) {
  return new Promise((resolve) => {
    const [send, agent] = agents[url.protocol];
    const headers = { ...params.headers };
    if (body !== null && body !== undefined) headers["Content-Length"] = Buffer.byteLength(body);
    // From when the request could be written, so that an answer is not slow because the connection was new.
    let began = performance.now();
    let over = false;
    const end = (answer) => {
      if (over) return;
      over = true;
      clearTimeout(limit);
      resolve({ status: 0, headers: {}, body: null, error: "", ...answer, duration: performance.now() - began });
    };
    const request = send(url, { method, agent, headers }, (response) => {
      const chunks = [];
      response.on("data", (chunk) => chunks.push(chunk));
      response.on("end", () => {
        const named = Object.entries(response.headers).map(([name, value]) => [canonical(name), String(value)]);
        end({ status: response.statusCode, headers: Object.fromEntries(named), body: Buffer.concat(chunks).toString() });
      });
      response.on("error", (error) => end({ error: error.message }));
      response.on("close", () => end({ error: "the answer broke off" }));
    });
    const limit = after(() => {
      end({ error: "request timeout" });
      request.destroy();
    }, milliseconds(params.timeout || "60s"));
    request.on("socket", (socket) => {
      began = performance.now();
      if (socket.connecting) socket.once("connect", () => { began = performance.now(); });
    });
    request.on("error", (error) => end({ error: error.message || error.code }));
    request.end(body === null ? undefined : body);
  });
}

export const http = {
  expectedStatuses: (...statuses) => statuses,
  async asyncRequest(method, url, body, params = {}) {
    const response = await exchange(method, new URL(url), body, params);
    const expected = params.responseCallback || [];
    const failed = expected.length > 0 ? !expected.includes(response.status) : response.status < 200 || response.status >= 400;
    requests.add(1, params.tags);
    failures.add(failed ? 1 : 0, params.tags);
    durations.add(response.duration, params.tags);
    return response;
  },
};
