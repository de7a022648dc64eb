// console.*, formatted as Node's util.inspect does at its defaults: depth 2, 100 items, lines of 72.
const { stringify } = JSON;
const { apply } = Reflect;
const MAX_DEPTH = 2;
const MAX_ITEMS = 100;
const MAX_STRING = 10000;
const LINE_WIDTH = 72;
const MAX_ERROR_TEXT = 16384;
const IDENTIFIER = /^[A-Za-z_$][\w$]*$/;
const getTag = Object.prototype.toString;

function quote(value) {
  const cut = value.length > MAX_STRING ? value.slice(0, MAX_STRING) : value;
  const escaped = stringify(cut).slice(1, -1).replaceAll('\\"', '"');
  const mark = !cut.includes("'") ? "'" : !cut.includes('"') ? '"' : !cut.includes("`") ? "`" : "'";
  const body = mark === "'" ? escaped.replaceAll("'", "\\'") : escaped;
  const more = value.length - cut.length;
  return mark + body + mark + (more ? `... ${more} more character${more > 1 ? "s" : ""}` : "");
}

function primitive(value) {
  if (typeof value === "string") return quote(value);
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value === "symbol") return value.toString();
  return Object.is(value, -0) ? "-0" : `${value}`;
}

function constructorName(value) {
  for (let object = value, hops = 0; object !== null && hops < 50; object = Object.getPrototypeOf(object), hops++) {
    const own = Object.getOwnPropertyDescriptor(object, "constructor");
    if (own && typeof own.value === "function" && typeof own.value.name === "string" && own.value.name) return own.value.name;
  }
  return null;
}

function functionLabel(value) {
  const name = typeof value.name === "string" && value.name;
  const source = apply(Function.prototype.toString, value, []);
  if (source.startsWith("class")) {
    const parent = Object.getPrototypeOf(value)?.name;
    return `[class ${name || "(anonymous)"}${typeof parent === "string" && parent ? ` extends ${parent}` : ""}]`;
  }
  return name ? `[${constructorName(value) ?? "Function"}: ${name}]` : `[${constructorName(value) ?? "Function"} (anonymous)]`;
}

// A stack without the platform's own frames.
export function ownFrames(stack) {
  return stack
    .split("\n")
    .filter((line) => line.trim() !== "" && !line.includes("fastn:"))
    .join("\n");
}

function errorText(error) {
  const head = `${error.name ?? "Error"}${error.message ? `: ${error.message}` : ""}`;
  const stack = typeof error.stack === "string" ? ownFrames(error.stack) : "";
  return stack ? `${head}\n${stack}` : `[${head}]`;
}

function keyText(key) {
  if (typeof key === "symbol") return `[${key.toString()}]`;
  return IDENTIFIER.test(key) ? key : quote(key);
}

function memberText(object, key, state, depth) {
  const property = Object.getOwnPropertyDescriptor(object, key);
  if (property === undefined) return "undefined";
  if (property.get) return property.set ? "[Getter/Setter]" : "[Getter]";
  if (property.set) return "[Setter]";
  return inspectValue(property.value, state, depth + 1);
}

function ownMembers(object, skipIndexes, state, depth) {
  const keys = Reflect.ownKeys(object).filter((key) => {
    if (skipIndexes && typeof key === "string" && /^(0|[1-9]\d*)$/.test(key)) return false;
    return Object.getOwnPropertyDescriptor(object, key)?.enumerable;
  });
  const shown = keys.slice(0, MAX_ITEMS).map((key) => `${keyText(key)}: ${memberText(object, key, state, depth)}`);
  if (keys.length > MAX_ITEMS) shown.push(`... ${keys.length - MAX_ITEMS} more items`);
  return shown;
}

function listItems(list, state, depth) {
  const items = [];
  let index = 0;
  while (index < list.length && items.length < MAX_ITEMS) {
    if (index in list) {
      items.push(inspectValue(list[index], state, depth + 1));
      index++;
      continue;
    }
    const start = index;
    while (index < list.length && !(index in list) && index - start < 1e6) index++;
    const holes = index - start === 1e6 ? (index = list.length) - start : index - start;
    items.push(`<${holes} empty item${holes > 1 ? "s" : ""}>`);
  }
  if (index < list.length) items.push(`... ${list.length - index} more item${list.length - index > 1 ? "s" : ""}`);
  return items;
}

function entryItems(collection, toText) {
  const items = [];
  for (const entry of collection) {
    if (items.length === MAX_ITEMS) {
      items.push(`... ${collection.size - MAX_ITEMS} more items`);
      break;
    }
    items.push(toText(entry));
  }
  return items;
}

function layout(prefix, open, items, close, depth) {
  const head = prefix ? `${prefix} ` : "";
  if (items.length === 0) return `${head}${open}${close}`;
  const total = items.reduce((sum, item) => sum + item.length + 2, prefix.length);
  if (total <= LINE_WIDTH && !items.some((item) => item.includes("\n"))) {
    return `${head}${open} ${items.join(", ")} ${close}`;
  }
  const pad = "  ".repeat(depth + 1);
  return `${head}${open}\n${pad}${items.join(`,\n${pad}`)}\n${"  ".repeat(depth)}${close}`;
}

function inspectMembers(value, name, state, depth) {
  const isPlain = name === "Object";
  if (Array.isArray(value)) {
    const items = [...listItems(value, state, depth), ...ownMembers(value, true, state, depth)];
    return layout(name === "Array" ? "" : `${name}(${value.length})`, "[", items, "]", depth);
  }
  if (ArrayBuffer.isView(value) && !(value instanceof DataView)) {
    return layout(`${name}(${value.length})`, "[", listItems(value, state, depth), "]", depth);
  }
  if (value instanceof Map) {
    const toText = ([key, item]) => `${inspectValue(key, state, depth + 1)} => ${inspectValue(item, state, depth + 1)}`;
    return layout(`${name}(${value.size})`, "{", entryItems(value, toText), "}", depth);
  }
  if (value instanceof Set) {
    return layout(`${name}(${value.size})`, "{", entryItems(value, (item) => inspectValue(item, state, depth + 1)), "}", depth);
  }
  if (value instanceof ArrayBuffer) return `${name} { byteLength: ${value.byteLength} }`;
  const prefix = name === null ? "[Object: null prototype]" : isPlain ? "" : name;
  return layout(prefix, "{", ownMembers(value, false, state, depth), "}", depth);
}

function headOf(value) {
  if (typeof value === "function") return functionLabel(value);
  if (value instanceof Error) return errorText(value);
  if (value instanceof RegExp) return `${value}`;
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? "Invalid Date" : value.toISOString();
  if (value instanceof Promise || value instanceof WeakMap || value instanceof WeakSet) {
    return `${constructorName(value)} { <${value instanceof Promise ? "state unknown" : "items unknown"}> }`;
  }
  const tag = apply(getTag, value, []).slice(8, -1);
  if ((tag === "Number" || tag === "String" || tag === "Boolean") && !(Symbol.toStringTag in value)) {
    return `[${tag}: ${primitive(value.valueOf())}]`;
  }
  if (typeof value.href === "string" && constructorName(value) === "URL") return `URL ${quote(value.href)}`;
  return null;
}

function inspectObject(value, state, depth) {
  const head = headOf(value);
  if (head !== null) {
    const extra = ownMembers(value, typeof value !== "function", state, depth);
    return extra.length && depth <= state.maxDepth ? layout(head, "{", extra, "}", depth) : head;
  }
  const name = constructorName(value);
  const isEmpty = Array.isArray(value) ? value.length === 0 : Reflect.ownKeys(value).length === 0 && !(value.size > 0);
  if (depth > state.maxDepth && !isEmpty) return Array.isArray(value) ? "[Array]" : `[${name ?? "Object: null prototype"}]`;
  return inspectMembers(value, name, state, depth);
}

function inspectValue(value, state, depth) {
  if ((typeof value !== "object" || value === null) && typeof value !== "function") return primitive(value);
  if (state.path.includes(value)) {
    if (!state.references.has(value)) state.references.set(value, state.references.size + 1);
    return `[Circular *${state.references.get(value)}]`;
  }
  state.path.push(value);
  try {
    const shown = inspectObject(value, state, depth);
    return state.references.has(value) ? `<ref *${state.references.get(value)}> ${shown}` : shown;
  } finally {
    state.path.pop();
  }
}

export function inspect(value, maxDepth = MAX_DEPTH) {
  try {
    return inspectValue(value, { path: [], references: new Map(), maxDepth }, 0);
  } catch (error) {
    return `[could not be shown: ${safeText(error?.message)}]`;
  }
}

function safeText(value) {
  try {
    return value === undefined ? "" : String(value);
  } catch {
    return "";
  }
}

function directive(letter, value) {
  if (letter === "s") return typeof value === "string" ? value : typeof value === "object" && value !== null ? inspect(value, 0) : primitive(value);
  if (letter === "d") return typeof value === "bigint" ? `${value}n` : typeof value === "symbol" ? "NaN" : `${Number(value)}`;
  if (letter === "i") return typeof value === "bigint" ? `${value}n` : `${parseInt(value, 10)}`;
  if (letter === "f") return `${parseFloat(value)}`;
  if (letter === "j") return stringify(value) ?? "undefined";
  return letter === "c" ? "" : inspect(value);
}

function format(args) {
  const texts = [];
  let rest = 0;
  if (typeof args[0] === "string") {
    rest = 1;
    texts.push(
      args[0].replace(/%([sdifjoOc%])/g, (whole, letter) => {
        if (letter === "%") return args.length > 1 ? "%" : whole;
        return rest < args.length ? directive(letter, args[rest++]) : whole;
      }),
    );
  }
  for (; rest < args.length; rest++) texts.push(typeof args[rest] === "string" ? args[rest] : inspect(args[rest]));
  return texts.join(" ");
}

export function createConsole(write) {
  let indent = "";
  const put = (level, args) => {
    const line = format(args);
    write(level, (indent ? indent + line.replaceAll("\n", `\n${indent}`) : line).toWellFormed());
  };
  const group = (...args) => {
    if (args.length) put("log", args);
    indent += "  ";
  };
  return {
    log: (...args) => put("log", args),
    info: (...args) => put("info", args),
    warn: (...args) => put("warn", args),
    error: (...args) => put("error", args),
    debug: (...args) => put("debug", args),
    trace: (...args) => put("debug", ["Trace:", ...args]),
    dir: (value) => put("log", [inspect(value)]),
    table: (value) => put("log", [inspect(value)]),
    assert: (condition, ...args) => condition || put("error", ["Assertion failed", ...args]),
    group,
    groupCollapsed: group,
    groupEnd: () => (indent = indent.slice(2)),
  };
}

function readText(error, field) {
  try {
    const value = error[field];
    return typeof value === "string" ? value.slice(0, MAX_ERROR_TEXT) : null;
  } catch {
    return null;
  }
}

// What was thrown, as plain text fields. A thrown value need not be an Error, and reading it may throw.
export function describeThrown(thrown) {
  if ((typeof thrown !== "object" || thrown === null) && typeof thrown !== "function") {
    return { name: "Error", message: typeof thrown === "string" ? thrown.slice(0, MAX_ERROR_TEXT) : primitive(thrown), stack: "", code: null };
  }
  const message = readText(thrown, "message");
  return {
    name: readText(thrown, "name") || "Error",
    message: message ?? inspect(thrown).slice(0, MAX_ERROR_TEXT),
    stack: readText(thrown, "stack") ?? "",
    code: readText(thrown, "code"),
  };
}
