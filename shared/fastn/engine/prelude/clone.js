// structuredClone (HTML, "structured serialize"): plain data, Map, Set, Date, RegExp, errors, buffers,
// views and boxed primitives, with cycles and shared references kept. Functions, symbols, promises and
// weak collections are refused with a DataCloneError.
const ERRORS = new Map(
  [Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError].map((type) => [type.name, type]),
);
const BOXES = new Map([["Number", Number], ["String", String], ["Boolean", Boolean], ["BigInt", BigInt]]);

function refuse(value) {
  throw new DOMException(`${typeof value === "symbol" ? "A symbol" : `A ${tagOf(value)}`} could not be cloned.`, "DataCloneError");
}

function tagOf(value) {
  return Object.prototype.toString.call(value).slice(8, -1);
}

function cloneView(view, seen) {
  const buffer = clone(view.buffer, seen);
  const length = view instanceof DataView ? view.byteLength : view.length;
  return new view.constructor(buffer, view.byteOffset, length);
}

function cloneError(error) {
  const Type = ERRORS.get(error.name) ?? Error;
  const copy = Object.create(Type.prototype);
  const target = Error.prototype.isPrototypeOf(copy) ? new Type(error.message) : copy;
  if (typeof error.stack === "string") target.stack = error.stack;
  return target;
}

function cloneExotic(value, seen) {
  if (value instanceof Date) return new Date(value.getTime());
  if (value instanceof RegExp) return new RegExp(value.source, value.flags);
  if (value instanceof ArrayBuffer) return value.slice(0);
  if (ArrayBuffer.isView(value)) return cloneView(value, seen);
  if (BOXES.has(tagOf(value)) && !Array.isArray(value)) return Object(value.valueOf());
  return undefined;
}

function copyMembers(from, to, seen) {
  for (const key of Object.keys(from)) {
    Object.defineProperty(to, key, { value: clone(from[key], seen), writable: true, enumerable: true, configurable: true });
  }
}

function clone(value, seen) {
  if (typeof value === "function" || typeof value === "symbol") refuse(value);
  if (typeof value !== "object" || value === null) return value;
  if (seen.has(value)) return seen.get(value);
  if (value instanceof Promise || value instanceof WeakMap || value instanceof WeakSet) refuse(value);
  const exotic = cloneExotic(value, seen);
  if (exotic !== undefined) {
    seen.set(value, exotic);
    return exotic;
  }
  const isError = value instanceof Error;
  const copy = isError ? cloneError(value)
    : value instanceof Map ? new Map()
    : value instanceof Set ? new Set()
    : Array.isArray(value) ? new Array(value.length)
    : {};
  seen.set(value, copy);
  if (value instanceof Map) for (const [key, item] of [...value]) copy.set(clone(key, seen), clone(item, seen));
  else if (value instanceof Set) for (const item of [...value]) copy.add(clone(item, seen));
  else if (isError) {
    if (Object.hasOwn(value, "cause")) Object.defineProperty(copy, "cause", { value: clone(value.cause, seen), writable: true, configurable: true });
  } else copyMembers(value, copy, seen);
  return copy;
}

export function structuredClone(value, options) {
  if (options?.transfer?.length) throw new DOMException("Transferring is not supported.", "DataCloneError");
  return clone(value, new Map());
}
