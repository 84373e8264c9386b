// What a run came to: for people, as JSON, and as a page that needs nothing else.
import { ACKNOWLEDGED } from "./client.js";
import { BASE_URL, PROFILE, leftOut, planned, profile, routes } from "./profiles.js";

const QUANTILES = { median: "med", p95: "p(95)", p99: "p(99)", max: "max" };

export function report(summary) {
  const value = (metric, key) => {
    const found = summary.metrics[metric];
    return found && found.values[key] !== undefined ? found.values[key] : 0;
  };
  const checks = [...summary.root_group.checks].map(({ name, passes, fails }) => ({ name, held: passes, failed: fails }));
  checks.sort((a, b) => (a.name < b.name ? -1 : 1));
  const thresholds = [];
  for (const [metric, found] of Object.entries(summary.metrics)) {
    for (const [rule, { ok }] of Object.entries(found.thresholds || {})) thresholds.push({ metric, rule, ok });
  }
  thresholds.sort((a, b) => (a.metric < b.metric ? -1 : 1));
  return {
    profile: PROFILE,
    base_url: BASE_URL,
    rate: profile.rate,
    duration: profile.duration,
    think: profile.think,
    ended: new Date().toISOString(),
    left_out: leftOut(),
    visitors: { planned, done: value("iterations", "count"), not_begun: value("dropped_iterations", "count") },
    requests: { count: value("http_reqs", "count"), per_second: value("http_reqs", "rate") },
    longest_ms: value("http_req_duration", "max"),
    routes: routes.map((route) => {
      const accepted = `accepted{route:${route}}`;
      const duration = `http_req_duration{route:${route}}`;
      const quantiles = Object.entries(QUANTILES).map(([name, key]) => [`${name}_ms`, value(duration, key)]);
      return {
        route,
        requests: value(`http_reqs{route:${route}}`, "count"),
        failed: value(`http_req_failed{route:${route}}`, "passes"),
        accepted: summary.metrics[accepted] ? value(accepted, "rate") : null,
        ...Object.fromEntries(quantiles),
      };
    }),
    records: {
      sent: value("records_sent", "count"),
      refused: value("records_refused", "count"),
      no_answer: value("records_unanswered", "count"),
      acknowledged: Object.fromEntries(ACKNOWLEDGED.map((kind) => [kind, value(`acknowledged_${kind}`, "count")])),
    },
    checks,
    thresholds,
    passed: thresholds.every(({ ok }) => ok),
  };
}

const whole = (n) => String(Math.round(n)).replace(/\B(?=(\d{3})+$)/g, ",");
const ms = (n) => (n < 100 ? n.toFixed(1) : whole(n));
const share = (n) => (n === null ? "" : `${(Math.floor(n * 10000) / 100).toString()} %`);

const HEAD = ["route", "requests", "failed", "accepted", "median", "p95", "p99", "max"];
const row = (r) => [
  r.route, whole(r.requests), whole(r.failed), share(r.accepted), ms(r.median_ms), ms(r.p95_ms), ms(r.p99_ms), ms(r.max_ms),
];

function totals(r) {
  const { sent, refused, no_answer, acknowledged } = r.records;
  return [
    ["visitors", `${whole(r.visitors.done)} of ${whole(r.visitors.planned)}, ${whole(r.visitors.not_begun)} never begun`],
    ["requests", `${whole(r.requests.count)}, ${r.requests.per_second.toFixed(1)} a second`],
    ["records", `${whole(sent)} sent, ${whole(refused)} refused, ${whole(no_answer)} without an answer`],
    ["acknowledged", Object.entries(acknowledged).map(([kind, count]) => `${kind} ${whole(count)}`).join(", ")],
    ...(r.left_out.length > 0 ? [["left out", r.left_out.join("; ")]] : []),
  ];
}

function title(r) {
  const most = profile.shape === "steady" ? "" : "up to ";
  return `Weir, ${r.profile} at ${r.base_url}: ${most}${whole(r.rate)} visitors a second, ${r.duration}`;
}

const failedChecks = (r) => r.checks.filter(({ failed }) => failed > 0);
const failedThresholds = (r) => r.thresholds.filter(({ ok }) => !ok);

export function text(r) {
  const lines = ["", title(r), ""];
  for (const [name, value] of totals(r)) lines.push(`${name.padEnd(14)}${value}`);
  lines.push("", HEAD.map((cell, at) => (at === 0 ? cell.padEnd(16) : cell.padStart(10))).join("") + "   (ms)");
  for (const one of r.routes) {
    lines.push(row(one).map((cell, at) => (at === 0 ? cell.padEnd(16) : cell.padStart(10))).join(""));
  }
  const held = r.checks.reduce((sum, check) => sum + check.held, 0);
  lines.push("", `checks        ${r.checks.length} kinds, held ${whole(held)} times, ${failedChecks(r).length || "none"} failed`);
  for (const { name, held: times, failed } of failedChecks(r)) {
    lines.push(`  FAILED ${name}: ${whole(failed)} of ${whole(times + failed)}`);
  }
  lines.push(`thresholds    ${r.thresholds.length}, ${failedThresholds(r).length || "none"} failed`);
  for (const { metric, rule } of failedThresholds(r)) lines.push(`  FAILED ${metric} ${rule}`);
  lines.push("", r.passed ? "passed" : "FAILED", "");
  return lines.join("\n");
}

const escaped = (value) => String(value).replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);

// Median, p95 and p99 on one line, from a tenth of a millisecond to ten seconds, each decade as wide as the others.
function ruler(r) {
  const at = (n) => Math.min(100, Math.max(0, (Math.log10(Math.max(n, 0.1)) + 1) * 20)).toFixed(1);
  const [from, middle, to] = [at(r.median_ms), at(r.p95_ms), at(r.p99_ms)];
  return `<svg viewBox="0 0 100 10" preserveAspectRatio="none" role="img" aria-label="median to p99">` +
    [20, 40, 60, 80].map((x) => `<line class="decade" x1="${x}" x2="${x}" y1="0" y2="10"/>`).join("") +
    `<rect class="range" x="${from}" width="${Math.max(0.8, to - from).toFixed(1)}" y="3" height="4"/>` +
    `<rect class="mark" x="${from}" width="0.8" y="1" height="8"/><rect class="mark" x="${middle}" width="0.8" y="1" height="8"/></svg>`;
}

const STYLE = `
:root { color-scheme: light dark; --ink: #1d2733; --paper: #fff; --line: #d5dbe2; --soft: #5b6875; --good: #17693b; --bad: #b3261e; --bar: #7aa7d6; --mark: #1c4f86 }
@media (prefers-color-scheme: dark) { :root { --ink: #e3e8ee; --paper: #14191f; --line: #323b45; --soft: #9aa7b4; --good: #63c98f; --bad: #ff8a80; --bar: #35618f; --mark: #a8cdf3 } }
body { font: 15px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 68rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.35rem; margin: 0 0 .25rem } h2 { font-size: 1.05rem; margin: 2rem 0 .5rem }
.verdict { font-weight: 700; color: var(--good) } .failed, .failed .verdict { color: var(--bad) }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.25rem; margin: 1rem 0 } dt { color: var(--soft) } dd { margin: 0 }
.wide { overflow-x: auto } table { border-collapse: collapse; width: 100% }
th, td { text-align: right; padding: .25rem .6rem; border-bottom: 1px solid var(--line); font-variant-numeric: tabular-nums; white-space: nowrap }
th { color: var(--soft); font-weight: 600 } th:first-child, td:first-child { text-align: left } td.text { text-align: left; white-space: normal }
svg { width: 16rem; height: 1.1rem; display: block } .range { fill: var(--bar) } .mark { fill: var(--mark) } .decade { stroke: var(--line); stroke-width: .3 }
details { margin: .5rem 0 } summary { cursor: pointer } footer { color: var(--soft); margin-top: 2rem }`;

export function html(r) {
  const cells = (list, tag) => list.map((cell) => `<${tag}>${escaped(cell)}</${tag}>`).join("");
  const list = (head, rows) =>
    `<div class="wide"><table><thead><tr>${cells(head, "th")}</tr></thead><tbody>${rows.join("")}</tbody></table></div>`;
  const bad = (is) => (is ? ' class="failed"' : "");
  const checkRows = r.checks.map((c) =>
    `<tr${bad(c.failed > 0)}><td class="text">${escaped(c.name)}</td>${cells([whole(c.held), whole(c.failed)], "td")}</tr>`);
  const thresholdRows = r.thresholds.map((t) =>
    `<tr${bad(!t.ok)}><td class="text">${escaped(t.metric)}</td>${cells([t.rule, t.ok ? "held" : "failed"], "td")}</tr>`);
  const open = (is) => (is ? " open" : "");
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escaped(`${r.profile}: ${r.passed ? "passed" : "failed"}`)}</title><style>${STYLE}</style></head>
<body><header${bad(!r.passed)}><h1>${escaped(title(r))}</h1><div class="verdict">${r.passed ? "passed" : "failed"}</div></header>
<dl>${totals(r).map(([name, value]) => `<dt>${escaped(name)}</dt><dd>${escaped(value)}</dd>`).join("")}</dl>
<h2>Answers, in milliseconds</h2>
${list([...HEAD, "median, p95, p99: 0.1 ms to 10 s"], r.routes.map((one) => `<tr${bad(one.failed > 0)}>${cells(row(one), "td")}<td>${ruler(one)}</td></tr>`))}
<h2>Thresholds</h2>
<details${open(failedThresholds(r).length > 0)}><summary>${r.thresholds.length}, ${failedThresholds(r).length || "none"} failed</summary>
${list(["metric", "rule", ""], thresholdRows)}</details>
<h2>Checks</h2>
<details${open(failedChecks(r).length > 0)}><summary>${r.checks.length} kinds, ${failedChecks(r).length || "none"} failed</summary>
${list(["check", "held", "failed"], checkRows)}</details>
<footer>${escaped(r.ended)}</footer></body></html>
`;
}
