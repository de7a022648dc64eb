// `@fastn/workflow`: workflows made of named steps, written by hand or compiled from a step flow.
//
// Templates ({{input.x}}) and conditions are data: they are looked up, never evaluated. What a lookup brings is
// not looked at again, so a value that holds {{…}} stays the text it is.
import { Fastn, fastn } from "fastn:prelude/runtime.js";
export { Fastn, fastn, Fastn as default };

const STEP_NAME = /^[A-Za-z_][A-Za-z0-9_-]{0,63}$/;
const STEP_TYPES = ["action", "wait", "gate", "loop"];
const ERROR_STRATEGIES = ["halt", "continue"];
const ONCE = Object.freeze({ maxAttempts: 1, initialIntervalMs: 0, backoffCoefficient: 1, maxIntervalMs: 0 });
const DEFAULT_RETRY = Object.freeze({ maxAttempts: 3, initialIntervalMs: 5000, backoffCoefficient: 2, maxIntervalMs: 60000 });
const ROOTS = ["input", "trigger", "steps", "item", "index"];
const TEMPLATE = /\{\{([^{}]*)\}\}/g;
const WHOLE_TEMPLATE = /^\{\{([^{}]*)\}\}$/;
const PATH = /^([A-Za-z]+)((?:\.[^\s\x00-\x1f\x7f-\x9f\ufeff.{}[\]\"'`()]+|\[\d+\]|\["[^"{}[\]]*"\])*)$/;
const SEGMENT = /\.([^\s\x00-\x1f\x7f-\x9f\ufeff.{}[\]\"'`()]+)|\[(\d+)\]|\["([^"{}[\]]*)"\]/g;

class FlowError extends Error {
  get name() {
    return "FlowError";
  }
}

// ---- templates ------------------------------------------------------------------------------------
const parsedPaths = new Map();

function parsePath(text) {
  const known = parsedPaths.get(text);
  if (known) return known;
  const found = PATH.exec(text.replace(/^ +| +$/g, ""));
  if (found === null || !ROOTS.includes(found[1])) {
    throw new FlowError(`{{${text}}} is no reference: write {{input.x}}, {{trigger.x}} or {{steps.name.output.x}}.`);
  }
  const keys = [found[1], ...Array.from(found[2].matchAll(SEGMENT), (part) => part[1] ?? part[2] ?? part[3])];
  parsedPaths.set(text, keys);
  return keys;
}

// Own members only: a path reaches no prototype, so no constructor and no method.
function follow(value, keys) {
  for (const key of keys) {
    if (value === null || typeof value !== "object" || !Object.hasOwn(value, key)) return undefined;
    value = value[key];
  }
  return value;
}

function lookUp(ctx, path) {
  return follow(ctx, parsePath(path));
}

function asText(value) {
  if (value === undefined || value === null) return "";
  return typeof value === "string" ? value : JSON.stringify(value);
}

function put(target, name, value) {
  Object.defineProperty(target, name, { value, writable: true, enumerable: true, configurable: true });
}

// The template with every reference replaced. A string that is one reference takes the value's own type (undefined
// where there is none); within other text a value is written out.
export function fill(ctx, template) {
  if (typeof template === "string") {
    const whole = WHOLE_TEMPLATE.exec(template);
    if (whole !== null) return lookUp(ctx, whole[1]);
    return template.replace(TEMPLATE, (_, path) => asText(lookUp(ctx, path)));
  }
  if (Array.isArray(template)) return template.map((element) => fill(ctx, element) ?? null);
  if (template === null || typeof template !== "object") return template;
  const filled = {};
  for (const name of Object.keys(template)) {
    const value = fill(ctx, template[name]);
    if (value !== undefined) put(filled, name, value);
  }
  return filled;
}

// ---- conditions -----------------------------------------------------------------------------------
function isSame(left, right) {
  if (left === right || (left ?? null) === (right ?? null)) return true;
  if (left === null || right === null || typeof left !== "object" || typeof right !== "object") return false;
  if (Array.isArray(left) !== Array.isArray(right)) return false;
  const names = Object.keys(left);
  return names.length === Object.keys(right).length && names.every((name) => Object.hasOwn(right, name) && isSame(left[name], right[name]));
}

// A vendor's "100.50" compares as the number it is; what is neither text nor number compares as nothing.
function isOrdered(left, right, compare) {
  const comparable = (value) => typeof value === "number" || typeof value === "string";
  return comparable(left) && comparable(right) && compare(left, right);
}

function holds(container, value) {
  if (Array.isArray(container)) return container.some((element) => isSame(element, value));
  return typeof container === "string" && typeof value === "string" && container.includes(value);
}

function isEmpty(value) {
  if (value === undefined || value === null || value === "") return true;
  return typeof value === "object" && Object.keys(value).length === 0;
}

const isTexts = (left, right) => typeof left === "string" && typeof right === "string";
const OPERATORS = {
  __proto__: null,
  equals: isSame,
  not_equals: (left, right) => !isSame(left, right),
  greater_than: (left, right) => isOrdered(left, right, (a, b) => a > b),
  at_least: (left, right) => isOrdered(left, right, (a, b) => a >= b),
  less_than: (left, right) => isOrdered(left, right, (a, b) => a < b),
  at_most: (left, right) => isOrdered(left, right, (a, b) => a <= b),
  contains: holds,
  in: (left, right) => holds(right, left),
  starts_with: (left, right) => isTexts(left, right) && left.startsWith(right),
  ends_with: (left, right) => isTexts(left, right) && left.endsWith(right),
  exists: (left) => left !== undefined && left !== null,
  is_empty: isEmpty,
};

// Whether the condition holds: {left, operator, right}, {all: […]}, {any: […]} or {not: …}.
export function check(ctx, condition) {
  if (Array.isArray(condition?.all)) return condition.all.every((part) => check(ctx, part));
  if (Array.isArray(condition?.any)) return condition.any.some((part) => check(ctx, part));
  if (condition?.not) return !check(ctx, condition.not);
  const compare = OPERATORS[condition?.operator];
  if (compare === undefined) throw new FlowError(`A condition knows no operator ${String(condition?.operator)}.`);
  return compare(fill(ctx, condition.left), fill(ctx, condition.right));
}

// ---- lists of values ------------------------------------------------------------------------------
function listOf(ctx, items) {
  const list = typeof items === "function" ? items(ctx) : fill(ctx, items);
  if (!Array.isArray(list)) throw new FlowError(`${JSON.stringify(items) ?? "items"} is no list.`);
  return list;
}

const within = (ctx, item, index) => ({ ...ctx, item, index });
const fieldOf = (item, path) => (path === undefined ? item : lookUp({ item }, `item.${path}`));
const numbersOf = (values) => values.map(Number).filter((value) => !Number.isNaN(value));
const sum = (values) => numbersOf(values).reduce((total, value) => total + value, 0);
const pick = (values, choose) => numbersOf(values).reduce((best, value) => (best === null ? value : choose(best, value)), null);

const COMPUTATIONS = {
  __proto__: null,
  count: (values) => values.length,
  sum,
  average: (values) => (numbersOf(values).length ? sum(values) / numbersOf(values).length : null),
  min: (values) => pick(values, Math.min),
  max: (values) => pick(values, Math.max),
  first: (values) => values[0] ?? null,
  last: (values) => values.at(-1) ?? null,
  collect: (values) => values,
};

function computed(items, compute) {
  const result = {};
  for (const name of Object.keys(compute)) {
    const { operation, field } = compute[name];
    const values = items.map((item) => fieldOf(item, field)).filter((value) => value !== undefined && value !== null);
    put(result, name, COMPUTATIONS[operation](values));
  }
  return result;
}

function grouped(items, path) {
  const groups = new Map();
  for (const item of items) {
    const key = JSON.stringify(fieldOf(item, path) ?? null);
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(item);
  }
  return groups;
}

function mergedLists(lists, path) {
  if (path === undefined) return lists.flat();
  return Array.from(grouped(lists.flat(), path).values(), mergedObjects);
}

function mergedObjects(parts) {
  const result = {};
  for (const part of parts) for (const name of Object.keys(part)) put(result, name, part[name]);
  return result;
}

export const transform = Object.freeze({
  filter: (ctx, { items, where }) => listOf(ctx, items).filter((item, index) => check(within(ctx, item, index), where)),
  limit: (ctx, { items, count, offset = 0 }) => listOf(ctx, items).slice(offset, offset + count),
  split: (ctx, { items, size }) => {
    const list = listOf(ctx, items);
    return Array.from({ length: Math.ceil(list.length / size) }, (_, part) => list.slice(part * size, (part + 1) * size));
  },
  aggregate: (ctx, { items, compute, groupBy }) => {
    const list = listOf(ctx, items);
    if (groupBy === undefined) return computed(list, compute);
    return Array.from(grouped(list, groupBy), ([key, group]) => ({ key: JSON.parse(key), ...computed(group, compute) }));
  },
  merge: (ctx, { sources, key }) => {
    const values = sources.map((source) => fill(ctx, source)).filter((value) => value !== undefined && value !== null);
    if (values.every(Array.isArray)) return mergedLists(values, key);
    if (values.some((value) => typeof value !== "object" || Array.isArray(value))) {
      throw new FlowError("Merge takes lists only, or objects only.");
    }
    return mergedObjects(values);
  },
  map: (ctx, { items, mapping }) => {
    if (items === undefined) return fill(ctx, mapping);
    return listOf(ctx, items).map((item, index) => fill(within(ctx, item, index), mapping));
  },
});

// ---- steps ----------------------------------------------------------------------------------------
function refuse(name, why) {
  throw new FlowError(`step ${name}: ${why}`);
}

function needs(name, options, member) {
  if (options[member] === undefined) refuse(name, `a step of the type ${options.type} needs ${member}.`);
}

// A step of a workflow; what it needs beside `type` depends on the type.
export function step(name, options = {}) {
  if (typeof name !== "string" || !STEP_NAME.test(name)) throw new FlowError(`${JSON.stringify(name)} is no name of a step.`);
  const { type = "action", onError, retry, dependsOn = [] } = options;
  if (!STEP_TYPES.includes(type)) refuse(name, `the type ${String(type)} is not available: use ${STEP_TYPES.join(", ")}.`);
  if (onError !== undefined && !ERROR_STRATEGIES.includes(onError)) refuse(name, "onError is halt or continue.");
  if (type === "action" && typeof options.handler !== "function") refuse(name, "an action needs a handler.");
  if (type === "gate") needs(name, { ...options, type }, "cases");
  if (type === "loop") for (const member of ["over", "steps"]) needs(name, { ...options, type }, member);
  if (type === "wait" && options.durationMs === undefined && options.until === undefined) refuse(name, "a wait needs durationMs or until.");
  const inner = { ...options };
  if (type === "loop") inner.steps = inOrder(options.steps);
  if (type === "gate") {
    inner.cases = options.cases.map((each) => ({ ...each, steps: inOrder(each.steps ?? []) }));
    inner.otherwise = inOrder(options.otherwise ?? []);
  }
  return Object.freeze({ ...inner, name, type, onError, retry, dependsOn });
}

// The steps so that each follows those it depends on, else as they were written.
function inOrder(steps) {
  const names = steps.map((each) => each.name);
  names.forEach((name, position) => names.indexOf(name) === position || refuse(name, "two steps have this name."));
  for (const each of steps) {
    for (const wanted of each.dependsOn) if (!names.includes(wanted)) refuse(each.name, `it depends on ${wanted}, which is no step beside it.`);
  }
  const waiting = [...steps];
  const done = [];
  while (waiting.length) {
    const next = waiting.findIndex((each) => each.dependsOn.every((wanted) => done.some((other) => other.name === wanted)));
    if (next < 0) refuse(waiting[0].name, `these steps wait for each other: ${waiting.map((each) => each.name).join(", ")}.`);
    done.push(...waiting.splice(next, 1));
  }
  return done;
}

async function runGate(each, ctx, config) {
  for (const { name, when, steps } of each.cases) {
    const isTaken = typeof when === "function" ? await when(ctx) : check(ctx, when);
    if (isTaken) return { case: name ?? null, output: await runSteps(steps, ctx, config) };
  }
  return { case: null, output: await runSteps(each.otherwise, ctx, config) };
}

async function runLoop(each, ctx, config) {
  const outputs = [];
  for (const [index, item] of listOf(ctx, each.over).entries()) {
    const steps = Object.assign(Object.create(null), ctx.steps);
    outputs.push(await runSteps(each.steps, { ...ctx, steps, item, index }, config));
  }
  return outputs;
}

async function runWait(each, ctx) {
  const durationMs = each.until === undefined ? Number(fill(ctx, each.durationMs)) : Date.parse(fill(ctx, each.until)) - Date.now();
  if (Number.isNaN(durationMs)) throw new FlowError("what to wait for is neither milliseconds nor an instant.");
  await fastn.sleep(Math.max(0, durationMs));
  return null;
}

function perform(each, ctx, config) {
  if (each.type === "action") return each.handler(ctx);
  if (each.type === "wait") return runWait(each, ctx);
  return each.type === "gate" ? runGate(each, ctx, config) : runLoop(each, ctx, config);
}

async function attempt(each, ctx, config) {
  const wanted = each.type === "action" ? (each.retry ?? config.retry) : undefined;
  const policy = wanted ? { ...DEFAULT_RETRY, ...wanted } : ONCE;
  let delayMs = policy.initialIntervalMs;
  for (let made = 1; ; made++) {
    try {
      return await perform(each, ctx, config);
    } catch (error) {
      // A vendor that understood and refused will refuse again.
      if (made >= policy.maxAttempts || error?.details?.retryable === false) throw error;
      console.warn(`step ${each.name}: attempt ${made} of ${policy.maxAttempts} failed, the next in ${delayMs} ms: ${asText(error?.message)}`);
      await fastn.sleep(delayMs);
      delayMs = Math.min(delayMs * policy.backoffCoefficient, policy.maxIntervalMs);
    }
  }
}

const named = new WeakSet();

// The error, naming the step it came from. A failed host call keeps its own words, by which the platform knows it
// again; its step is told by the stack.
function naming(name, thrown) {
  if (!(thrown instanceof Error)) return naming(name, new FlowError(asText(thrown)));
  if (named.has(thrown)) return thrown;
  named.add(thrown);
  const { message, stack } = thrown;
  const isOfHost = thrown.details !== undefined;
  const members = { stack: `${stack ?? ""}\n    at step ${name}` };
  if (!isOfHost) members.message = `step ${name}: ${message}`;
  for (const member of Object.keys(members)) {
    Reflect.defineProperty(thrown, member, { value: members[member], writable: true, configurable: true });
  }
  return thrown;
}

async function runStep(each, ctx, config) {
  try {
    const output = (await attempt(each, ctx, config)) ?? null;
    ctx.steps[each.name] = { status: "completed", output, error: null };
    return output;
  } catch (thrown) {
    const isReported = thrown instanceof Error && named.has(thrown);
    const error = naming(each.name, thrown);
    ctx.steps[each.name] = { status: "failed", output: null, error: { name: error.name, message: error.message } };
    if (!isReported) console.error(`step ${each.name} failed: ${error.name}: ${error.message}`);
    if ((each.onError ?? config.onError) !== "continue") throw error;
    return null;
  }
}

async function runSteps(steps, ctx, config) {
  let output = null;
  for (const each of steps) output = await runStep(each, ctx, config);
  return output;
}

// What steps have in common: `onError` and `retry` for those that say nothing themselves.
export function defineConfig(config = {}) {
  if (config.onError !== undefined && !ERROR_STRATEGIES.includes(config.onError)) throw new FlowError("onError is halt or continue.");
  return Object.freeze({ ...config });
}

// A workflow to export as default. It returns its `output`, or what its last step returned.
export function workflow(name, { trigger = null, steps = [], config = {}, output } = {}) {
  const ordered = inOrder(steps);
  async function main(context) {
    const ctx = { input: context.input, trigger: context.input, headers: context.headers, steps: Object.create(null) };
    const last = await runSteps(ordered, ctx, config);
    if (output === undefined) return last;
    return typeof output === "function" ? output(ctx) : fill(ctx, output);
  }
  const definition = { name, trigger, steps: ordered.map((each) => ({ name: each.name, type: each.type })) };
  return Object.defineProperty(main, "definition", { value: Object.freeze(definition) });
}
