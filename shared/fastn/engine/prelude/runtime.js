// The program's side of the host channel: host calls, timers, start and settle.
//
// One host function carries everything out as one string: a letter, then its payload.
//   C<id> <operation>\n<arguments JSON>    a host call      X<id>            that call is no longer wanted
//   L<level> <text>                        a console line   R<JSON>          the program returned
//   E<JSON of name, message, stack, code>  the program failed
//   O                                      it failed, and there is no memory left to say how
// Everything the channel needs is captured before any program code runs: a program that overwrites
// JSON.stringify or Array.prototype harms itself alone.
import { createConsole, describeThrown, ownFrames } from "fastn:prelude/console.js";
import { TextDecoder, TextEncoder } from "fastn:prelude/encoding.js";
import { createRandom } from "fastn:prelude/random.js";
import { structuredClone } from "fastn:prelude/clone.js";
import { URL, URLSearchParams } from "fastn:prelude/url.js";

const send = globalThis.$fastnHost;
delete globalThis.$fastnHost;

const { stringify } = JSON;
const { apply } = Reflect;
const { now } = Date;
const NativePromise = Promise;
const NativeError = Error;
const promiseThen = Promise.prototype.then;
const reject = Promise.reject.bind(Promise);
const calls = new Map();
const getCall = calls.get.bind(calls);
const setCall = calls.set.bind(calls);
const deleteCall = calls.delete.bind(calls);
const nativeQueueMicrotask = queueMicrotask;

let lastCallId = 0;
let timeOrigin = 0;
let context = null;
let begun = false;

function post(operation, argumentsText, outcome) {
  const id = ++lastCallId;
  setCall(id, outcome);
  try {
    send(`C${id} ${operation}\n${argumentsText}`);
  } catch (error) {
    deleteCall(id);
    throw error;
  }
  return id;
}

function hostCall(operation, args) {
  let argumentsText;
  try {
    argumentsText = stringify(args);
  } catch (error) {
    return reject(error);
  }
  // Where the call was made is where its error should point: the rejection itself has no caller.
  const madeAt = new NativeError().stack;
  return new NativePromise((onOk, onError) => {
    post(operation, argumentsText, { onOk, onError, madeAt });
  });
}

// Unknown members of the API read as undefined, so that neither `await fastn.connector.slack` nor
// JSON.stringify mistakes them for a thenable or a custom serializer.
const NOT_ACTIONS = { __proto__: null, then: true, toJSON: true };

const NAME = /^[A-Za-z_$][\w$-]*$/;
const matchName = NAME.exec.bind(NAME);

function namespace(member) {
  return new Proxy(Object.create(null), {
    get(_, name) {
      if (typeof name !== "string" || NOT_ACTIONS[name]) return undefined;
      if (matchName(name) === null) throw new TypeError("The name of a connector or action has letters, digits, _, $ and - only.");
      return member(name);
    },
    set: () => false,
    defineProperty: () => false,
  });
}

function connectorApi(optionsBySlug) {
  return namespace((slug) =>
    namespace((action) => (args) => {
      const options = Object.hasOwn(optionsBySlug, slug) ? optionsBySlug[slug] : undefined;
      return hostCall(`connector.${slug}.${action}`, { args, options });
    }),
  );
}

const db = Object.freeze({ query: (sql, params) => hostCall("db.query", { sql, params }) });
const state = Object.freeze({
  get: (key, options) => hostCall("state.get", { key, options }),
  set: (key, value, options) => hostCall("state.set", { key, value, options }),
  delete: (key, options) => hostCall("state.delete", { key, options }),
});
const secrets = Object.freeze({ get: (name) => hostCall("secrets.get", { name }) });
const sleep = (ms) => hostCall("sleep", { ms: delay(ms) });

export class Fastn {
  constructor(options) {
    const connectors = options?.connectors;
    this.connector = connectorApi(connectors && typeof connectors === "object" ? connectors : {});
    this.db = db;
    this.state = state;
    this.secrets = secrets;
    this.sleep = sleep;
  }
}

export const fastn = Object.freeze(
  Object.assign(Object.create(null), { connector: connectorApi({}), db, state, secrets, sleep, Fastn }),
);

// ---- timers: time belongs to the host, so a timer is one more host call -----------------------------
const timers = new Map();
let lastTimerId = 0;

function delay(ms) {
  const wanted = Math.trunc(+ms);
  return wanted >= 0 && wanted <= 2 ** 31 - 1 ? wanted : wanted > 0 ? 2 ** 31 - 1 : 0;
}

function schedule(timerId, callback, ms, args, repeats) {
  const fire = () => {
    if (!timers.has(timerId)) return;
    if (repeats) schedule(timerId, callback, ms, args, true);
    else timers.delete(timerId);
    apply(callback, undefined, args);
  };
  const failed = () => timers.delete(timerId);
  timers.set(timerId, post("timer", stringify({ ms }), { onOk: fire, onError: failed, madeAt: null }));
}

function startTimer(callback, ms, args, repeats) {
  if (typeof callback !== "function") throw new TypeError("The callback of a timer must be a function.");
  const timerId = ++lastTimerId;
  schedule(timerId, callback, repeats ? Math.max(1, delay(ms)) : delay(ms), args, repeats);
  return timerId;
}

function stopTimer(timerId) {
  const callId = timers.get(timerId);
  if (callId === undefined) return;
  timers.delete(timerId);
  if (deleteCall(callId)) send(`X${callId}`);
}

const random = createRandom();
const performance = Object.freeze({
  now: () => now() - timeOrigin,
  get timeOrigin() {
    return timeOrigin;
  },
});

const offered = {
  fastn,
  URL,
  URLSearchParams,
  TextEncoder,
  TextDecoder,
  structuredClone,
  performance,
  crypto: random.crypto,
  console: createConsole((level, line) => send(`L${level} ${line}`)),
  setTimeout: (callback, ms, ...args) => startTimer(callback, ms, args, false),
  setInterval: (callback, ms, ...args) => startTimer(callback, ms, args, true),
  clearTimeout: (timerId) => stopTimer(timerId),
  clearInterval: (timerId) => stopTimer(timerId),
  queueMicrotask: (callback) => {
    if (typeof callback !== "function") throw new TypeError("The callback of queueMicrotask must be a function.");
    nativeQueueMicrotask(() => {
      try {
        callback();
      } catch (error) {
        fail(error);
      }
    });
  },
};
for (const name of Object.keys(offered)) {
  Object.defineProperty(globalThis, name, {
    value: offered[name],
    writable: true,
    configurable: true,
    enumerable: false,
  });
}
Object.defineProperty(Math, "random", { value: random.mathRandom, writable: true, configurable: true });
// Collection is not deterministic: what it can tell would differ between a run and its replay.
delete globalThis.WeakRef;
delete globalThis.FinalizationRegistry;
delete globalThis.SharedArrayBuffer;
// A stack trace hook is handed the functions on the stack, and with them the inside of this module.
Object.defineProperty(Error, "prepareStackTrace", { get: () => undefined, set: () => {}, configurable: false });

// ---- called by the host ---------------------------------------------------------------------------
function fail(error) {
  try {
    send(`E${stringify(describeThrown(error))}`);
  } catch {
    send("O");
  }
}

// `options` is {input, headers, startedAtMs, seed: 32 numbers}.
export function configure(options) {
  random.seed(options.seed);
  timeOrigin = options.startedAtMs;
  context = { input: options.input, headers: options.headers };
}

// Reports what the entry module's own evaluation throws (top-level code of the program).
export function watch(evaluation) {
  apply(promiseThen, evaluation, [undefined, fail]);
}

// Called by the entry module once the program's module is evaluated.
export async function begin(main) {
  if (begun) return;
  begun = true;
  try {
    if (typeof main !== "function") {
      throw new TypeError("The default export must be a function: export default async function (ctx) { … }");
    }
    const value = await main(context);
    send(`R${stringify(value) ?? "null"}`);
  } catch (error) {
    fail(error);
  }
}

// `outcome` is [call id, true, value] or [call id, false, {name, message, details}].
export function settle(outcome) {
  const id = outcome[0];
  const call = getCall(id);
  if (call === undefined) return;
  deleteCall(id);
  const answer = outcome[2];
  if (outcome[1]) {
    call.onOk(answer);
    return;
  }
  const error = new NativeError(answer.message);
  define(error, "name", answer.name);
  if (typeof call.madeAt === "string") define(error, "stack", ownFrames(call.madeAt));
  if (answer.details !== null) {
    define(error, "details", answer.details);
    if (typeof answer.details.code === "string") define(error, "code", answer.details.code);
  }
  call.onError(error);
}

const { defineProperty } = Object;
function define(target, name, value) {
  const enumerable = name !== "stack" && name !== "name";
  defineProperty(target, name, { __proto__: null, value, writable: true, configurable: true, enumerable });
}
