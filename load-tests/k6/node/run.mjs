// Runs a k6 script on Node.js: node run.mjs [-e NAME=VALUE...] [--no-thresholds] [--console-output FILE] SCRIPT
//
// Knows the two executors that begin visitors at a rate, whatever becomes of those that are there (constant-arrival-rate
// and ramping-arrival-rate), and no other. Exit codes are k6's: 99 when a threshold failed, 107 when the script did.
import { createWriteStream, writeFileSync } from "node:fs";
import { register } from "node:module";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

import { dropped, execution, iterations, summarise, watch } from "./engine.mjs";

const STEP_MS = 2;
const PROGRESS_MS = 10_000;

function usage(why) {
  console.error(`k6/run: ${why}`);
  process.exit(2);
}

function readArguments(list) {
  const options = { env: { ...process.env }, thresholds: true, console: null, script: null };
  while (list.length > 0) {
    const word = list.shift();
    if (word === "-e" || word === "--env") {
      const [, name, value] = /^([^=]+)=(.*)$/s.exec(list.shift() || "") || usage("-e takes NAME=VALUE");
      options.env[name] = value;
    } else if (word === "--no-thresholds") {
      options.thresholds = false;
    } else if (word === "--console-output") {
      options.console = list.shift() || usage("--console-output takes a file");
    } else if (word.startsWith("-") || options.script) {
      usage(`${word} is not understood here; there are -e, --no-thresholds and --console-output`);
    } else {
      options.script = word;
    }
  }
  return options.script ? options : usage("which script?");
}

const seconds = (text) => {
  const units = { h: 3600, m: 60, s: 1, ms: 0.001 };
  return [...text.matchAll(/(\d+)(ms|h|m|s)/g)].reduce((sum, [, number, unit]) => sum + number * units[unit], 0);
};

// How many visitors are due after so many seconds, and how long that goes on.
function schedule(scenario) {
  if (scenario.executor === "constant-arrival-rate") {
    return { length: seconds(scenario.duration), due: (at) => scenario.rate * at };
  }
  if (scenario.executor !== "ramping-arrival-rate") usage(`no executor ${scenario.executor} here`);
  const stages = scenario.stages.map((stage) => ({ length: seconds(stage.duration), target: stage.target }));
  const due = (at) => {
    let [from, sum, left] = [scenario.startRate, 0, at];
    for (const { length, target } of stages) {
      const part = Math.min(left, length);
      sum += part * (from + ((target - from) * part) / length / 2);
      left -= part;
      from = target;
      if (left <= 0) break;
    }
    return sum;
  };
  return { length: stages.reduce((sum, stage) => sum + stage.length, 0), due };
}

// Begins each visitor when it is due, or counts it as dropped when too many are there already.
async function run(scenario, visit) {
  const { length, due } = schedule(scenario);
  const began = performance.now();
  const elapsed = () => (performance.now() - began) / 1000;
  let [begun, there, told, failure] = [0, 0, began, null];
  const begin = async () => {
    there += 1;
    // Read before the visitor first waits; afterwards it is somebody else's.
    execution.scenario.iterationInTest = begun++;
    try {
      await visit();
      iterations.add(1);
    } catch (error) {
      failure ||= error;
    }
    there -= 1;
  };
  for (let at = 0; at < length && !failure; ) {
    at = Math.min(elapsed(), length);
    for (let missing = Math.floor(due(at)) - begun - dropped.sink.sum; missing > 0; missing--) {
      if (there < scenario.maxVUs) begin();
      else dropped.add(1);
    }
    if (performance.now() - told > PROGRESS_MS) {
      told = performance.now();
      console.error(`${Math.round(elapsed())} s of ${length} s, ${begun} visitors begun, ${there} there`);
    }
    await new Promise((wake) => setTimeout(wake, STEP_MS));
  }
  const patience = elapsed() + seconds(scenario.gracefulStop);
  while (there > 0 && elapsed() < patience) await new Promise((wake) => setTimeout(wake, STEP_MS));
  if (failure) throw failure;
  if (there > 0) console.error(`${there} visitors had not ended after ${scenario.gracefulStop}`);
  return elapsed();
}

async function main() {
  const options = readArguments(process.argv.slice(2));
  globalThis.__ENV = options.env;
  register("./hooks.mjs", import.meta.url);
  const script = await import(pathToFileURL(resolve(options.script)).href);
  const watched = watch(options.thresholds ? script.options.thresholds : {});
  const scenarios = Object.values(script.options.scenarios);
  if (scenarios.length !== 1) usage("one scenario at a time");
  const printed = options.console ? createWriteStream(options.console) : null;
  if (printed) console.log = (line) => printed.write(`${line}\n`);
  const shared = await script.setup();
  const took = await run(scenarios[0], () => script.default(shared));
  const summary = summarise(watched, took);
  for (const [name, content] of Object.entries(script.handleSummary(summary))) {
    if (name === "stdout") process.stdout.write(content);
    else writeFileSync(name, content);
  }
  const failed = Object.values(summary.metrics).some(({ thresholds }) => Object.values(thresholds || {}).some(({ ok }) => !ok));
  if (printed) await new Promise((written) => printed.end(written));
  // Idle connections would keep the process for a while.
  process.stdout.write("", () => process.exit(failed ? 99 : 0));
}

main().catch((error) => {
  console.error(`k6/run: ${error.stack || error}`);
  process.exit(107);
});
