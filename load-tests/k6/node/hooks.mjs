// Gives k6's modules their stand-ins, and reads every script as a module.

const MODULES = {
  "k6": "export { check }",
  "k6/http": "export { http as default }",
  "k6/metrics": "export { Counter, Rate }",
  "k6/execution": "export { execution as default }",
  "k6/crypto": "export { crypto as default }",
  "k6/encoding": "export { encoding as default }",
  "k6/timers": "export { setTimeout }",
};
const engine = new URL("engine.mjs", import.meta.url).href;

export function resolve(specifier, context, next) {
  if (specifier in MODULES) return { url: `stand-in:${specifier}`, shortCircuit: true };
  return next(specifier, context);
}

export async function load(url, context, next) {
  if (url.startsWith("stand-in:")) {
    const source = `${MODULES[url.slice("stand-in:".length)]} from ${JSON.stringify(engine)};`;
    return { format: "module", source, shortCircuit: true };
  }
  return next(url, url.endsWith(".js") ? { ...context, format: "module" } : context);
}
