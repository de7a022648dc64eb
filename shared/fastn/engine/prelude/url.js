// URL and URLSearchParams (WHATWG URL Standard). One pass over the parts instead of the standard's state
// machine; the results are the same for the inputs the standard accepts.
import { TextDecoder, TextEncoder } from "fastn:prelude/encoding.js";
import { parseHost } from "fastn:prelude/host.js";

const SPECIAL_PORTS = { __proto__: null, "http:": 80, "https:": 443, "ws:": 80, "wss:": 443, "ftp:": 21, "file:": null };
const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

const inControl = (code) => code <= 0x1f || code > 0x7e;
const setOf = (chars, base) => (code) => base(code) || chars.includes(String.fromCharCode(code));
const inFragment = setOf(' "<>`', inControl);
const inQuery = setOf(' "#<>', inControl);
const inSpecialQuery = setOf("'", inQuery);
const inPath = setOf("?`{}^", inQuery);
const inUserinfo = setOf("/:;=@[\\]|", inPath);
const inForm = (code) => !/[A-Za-z0-9*\-._]/.test(String.fromCharCode(code));

function percentEncode(text, isEncoded) {
  let output = "";
  for (const char of text) {
    const code = char.codePointAt(0);
    if (!isEncoded(code)) output += char;
    else for (const byte of encoder.encode(char)) output += `%${byte < 16 ? "0" : ""}${byte.toString(16).toUpperCase()}`;
  }
  return output;
}

function invalid(input) {
  const error = new TypeError("Invalid URL");
  error.code = "ERR_INVALID_URL";
  error.input = input;
  return error;
}

const isSpecial = (scheme) => scheme in SPECIAL_PORTS;
const isSingleDot = (part) => /^(\.|%2e)$/i.test(part);
const isDoubleDot = (part) => /^(\.|%2e){2}$/i.test(part);

function normalizePath(text, base, special) {
  const parts = (special ? text.replaceAll("\\", "/") : text).split("/");
  const output = base ? [...base] : [];
  parts.forEach((part, i) => {
    const isLast = i === parts.length - 1;
    if (isDoubleDot(part)) {
      output.pop();
      if (isLast) output.push("");
    } else if (isSingleDot(part)) {
      if (isLast) output.push("");
    } else output.push(percentEncode(part, inPath));
  });
  return output;
}

function parsePort(text, scheme) {
  if (text === "") return "";
  if (!/^[0-9]+$/.test(text) || +text > 65535) return null;
  return +text === SPECIAL_PORTS[scheme] ? "" : `${+text}`;
}

function parseAuthority(record, text) {
  const at = text.lastIndexOf("@");
  const hostAndPort = text.slice(at + 1);
  if (at >= 0) {
    const [user, ...password] = text.slice(0, at).split(":");
    record.username = percentEncode(user, inUserinfo);
    record.password = percentEncode(password.join(":"), inUserinfo);
  }
  const [, host, port] = /^(\[[^\]]*\]|[^:]*)(?::(.*))?$/.exec(hostAndPort) ?? [];
  if (host === undefined || (host === "" && (isSpecial(record.scheme) || at >= 0 || port))) return false;
  record.host = host === "" ? "" : parseHost(host, isSpecial(record.scheme));
  record.port = parsePort(port ?? "", record.scheme);
  return record.host !== null && record.port !== null;
}

function newRecord(scheme) {
  return { scheme, username: "", password: "", host: null, port: "", path: [], opaque: null, query: null, fragment: null };
}

function takeQueryAndFragment(record, rest) {
  const hash = rest.indexOf("#");
  if (hash >= 0) record.fragment = percentEncode(rest.slice(hash + 1), inFragment);
  const body = hash >= 0 ? rest.slice(0, hash) : rest;
  const mark = body.indexOf("?");
  if (mark >= 0) record.query = percentEncode(body.slice(mark + 1), isSpecial(record.scheme) ? inSpecialQuery : inQuery);
  return mark >= 0 ? body.slice(0, mark) : body;
}

function parseAbsolute(scheme, rest) {
  const record = newRecord(scheme);
  const special = isSpecial(scheme);
  const body = takeQueryAndFragment(record, rest);
  const slashes = special ? /^[/\\]*/.exec(body)[0].length : body.startsWith("//") ? 2 : 0;
  if (scheme === "file:") return parseFile(record, body);
  if (!special && slashes === 0) {
    if (body.startsWith("/")) record.path = normalizePath(body.slice(1), null, false);
    else record.opaque = percentEncode(body, inControl);
    return record;
  }
  const afterSlashes = body.slice(slashes);
  const end = afterSlashes.search(special ? /[/\\]/ : /\//);
  const authority = end < 0 ? afterSlashes : afterSlashes.slice(0, end);
  if (!parseAuthority(record, authority)) return null;
  if (end >= 0) record.path = normalizePath(afterSlashes.slice(end + 1), null, special);
  else if (special) record.path = [""];
  return record;
}

function parseFile(record, body) {
  const text = body.replaceAll("\\", "/");
  const authority = /^\/\/([^/]*)(.*)$/s.exec(text);
  const host = authority ? authority[1] : "";
  record.host = host === "" || host.toLowerCase() === "localhost" ? "" : parseHost(host, true);
  if (record.host === null) return null;
  record.path = normalizePath((authority ? authority[2] : text).replace(/^\//, ""), null, true);
  return record;
}

function parseRelative(input, base) {
  const special = isSpecial(base.scheme);
  const text = special ? input.replace(/^[^?#]*/, (path) => path.replaceAll("\\", "/")) : input;
  if (base.opaque !== null) {
    return text.startsWith("#") ? { ...base, fragment: percentEncode(text.slice(1), inFragment) } : null;
  }
  if (text.startsWith("//")) return parseAbsolute(base.scheme, text);
  const record = { ...base, path: [...base.path], query: null, fragment: null };
  const path = takeQueryAndFragment(record, text);
  if (path.startsWith("/")) record.path = normalizePath(path.slice(1), null, special);
  else if (path !== "") record.path = normalizePath(path, base.path.slice(0, -1), special);
  else if (record.query === null && !text.startsWith("?")) record.query = base.query;
  return record;
}

function parse(input, base) {
  const text = input.replace(/^[\u0000-\u0020]+|[\u0000-\u0020]+$/g, "").replaceAll(/[\t\n\r]/g, "");
  const [, scheme, rest] = /^([A-Za-z][A-Za-z0-9+.-]*:)(.*)$/s.exec(text) ?? [];
  if (scheme === undefined) return base === null ? null : parseRelative(text, base);
  const lower = scheme.toLowerCase();
  if (base !== null && isSpecial(lower) && lower === base.scheme && lower !== "file:" && !/^[/\\]/.test(rest)) return parseRelative(rest, base);
  return parseAbsolute(lower, rest);
}

function pathText(record) {
  if (record.opaque !== null) return record.opaque;
  return record.path.length ? `/${record.path.join("/")}` : "";
}

function serialize(record) {
  let output = record.scheme;
  if (record.host !== null) {
    output += "//";
    if (record.username || record.password) output += `${record.username}${record.password ? `:${record.password}` : ""}@`;
    output += record.host + (record.port ? `:${record.port}` : "");
  } else if (record.opaque === null && record.path.length > 1 && record.path[0] === "") output += "/.";
  output += pathText(record);
  if (record.query !== null) output += `?${record.query}`;
  if (record.fragment !== null) output += `#${record.fragment}`;
  return output;
}

const hexByte = (text) => (/^[0-9a-fA-F]{2}$/.test(text) ? parseInt(text, 16) : -1);

function formDecode(text) {
  const bytes = encoder.encode(text.replaceAll("+", " "));
  const output = new Uint8Array(bytes.length);
  let length = 0;
  for (let i = 0; i < bytes.length; i++) {
    const escaped = bytes[i] === 37 && i + 2 < bytes.length ? hexByte(String.fromCharCode(bytes[i + 1], bytes[i + 2])) : -1;
    output[length++] = escaped < 0 ? bytes[i] : escaped;
    if (escaped >= 0) i += 2;
  }
  return decoder.decode(output.subarray(0, length));
}

function formParse(text) {
  return text.split("&").filter(Boolean).map((pair) => {
    const at = pair.indexOf("=");
    return at < 0 ? [formDecode(pair), ""] : [formDecode(pair.slice(0, at)), formDecode(pair.slice(at + 1))];
  });
}

const formEncode = (text) => percentEncode(text.toWellFormed(), (code) => code !== 32 && inForm(code)).replaceAll(" ", "+");

function pairsFrom(init) {
  if (typeof init !== "object" && typeof init !== "function") return formParse(`${init}`.replace(/^\?/, ""));
  if (init === null) return formParse("null");
  if (typeof init[Symbol.iterator] !== "function") return Object.keys(init).map((key) => [key, `${init[key]}`]);
  return Array.from(init, (pair) => {
    const [name, value, ...more] = pair;
    if (value === undefined || more.length) throw new TypeError("Each query pair must be an iterable [name, value] tuple");
    return [`${name}`, `${value}`];
  });
}

let takeOwner; // set by URLSearchParams: binds a list to the URL whose query it is

export class URLSearchParams {
  #pairs;
  #changed = () => {};

  static {
    takeOwner = (params, query, changed) => {
      params.#pairs = formParse(query ?? "");
      if (changed) params.#changed = changed;
    };
  }

  constructor(init = "") {
    this.#pairs = pairsFrom(init);
  }
  get size() {
    return this.#pairs.length;
  }
  append(name, value) {
    this.#pairs.push([`${name}`, `${value}`]);
    this.#changed();
  }
  delete(name, value) {
    this.#pairs = this.#pairs.filter((pair) => pair[0] !== `${name}` || (value !== undefined && pair[1] !== `${value}`));
    this.#changed();
  }
  get(name) {
    return this.#pairs.find((pair) => pair[0] === `${name}`)?.[1] ?? null;
  }
  getAll(name) {
    return this.#pairs.filter((pair) => pair[0] === `${name}`).map((pair) => pair[1]);
  }
  has(name, value) {
    return this.#pairs.some((pair) => pair[0] === `${name}` && (value === undefined || pair[1] === `${value}`));
  }
  set(name, value) {
    const first = this.#pairs.findIndex((pair) => pair[0] === `${name}`);
    if (first < 0) this.#pairs.push([`${name}`, `${value}`]);
    else {
      this.#pairs[first][1] = `${value}`;
      this.#pairs = this.#pairs.filter((pair, i) => i <= first || pair[0] !== `${name}`);
    }
    this.#changed();
  }
  sort() {
    this.#pairs.sort((a, b) => (a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0));
    this.#changed();
  }
  forEach(callback, self) {
    for (const [name, value] of this) Reflect.apply(callback, self, [value, name, this]);
  }
  *entries() {
    for (let i = 0; i < this.#pairs.length; i++) yield [...this.#pairs[i]];
  }
  *keys() {
    for (const [name] of this.entries()) yield name;
  }
  *values() {
    for (const [, value] of this.entries()) yield value;
  }
  [Symbol.iterator]() {
    return this.entries();
  }
  get [Symbol.toStringTag]() {
    return "URLSearchParams";
  }
  toString() {
    return this.#pairs.map(([name, value]) => `${formEncode(name)}=${formEncode(value)}`).join("&");
  }
}

export class URL {
  #record;
  #params = null;

  constructor(input, base) {
    const baseRecord = base === undefined ? null : parse(`${base}`.toWellFormed(), null);
    if (base !== undefined && baseRecord === null) throw invalid(`${input}`);
    this.#record = parse(`${input}`.toWellFormed(), baseRecord);
    if (this.#record === null) throw invalid(`${input}`);
  }
  static canParse(input, base) {
    return URL.parse(input, base) !== null;
  }
  static parse(input, base) {
    try {
      return new URL(input, base);
    } catch {
      return null;
    }
  }

  get href() {
    return serialize(this.#record);
  }
  set href(value) {
    const record = parse(`${value}`.toWellFormed(), null);
    if (record === null) throw invalid(`${value}`);
    this.#record = record;
    this.#refreshParams();
  }
  get origin() {
    const { scheme, host, port, opaque } = this.#record;
    if (scheme === "blob:" && opaque !== null) {
      const inner = URL.parse(opaque);
      return inner !== null && /^https?:$/.test(inner.protocol) ? inner.origin : "null";
    }
    if (!isSpecial(scheme) || scheme === "file:") return "null";
    return `${scheme}//${host}${port ? `:${port}` : ""}`;
  }
  get protocol() {
    return this.#record.scheme;
  }
  set protocol(value) {
    const [, scheme] = /^([A-Za-z][A-Za-z0-9+.-]*):?/.exec(`${value}`) ?? [];
    const wanted = scheme === undefined ? "" : `${scheme.toLowerCase()}:`;
    if (!scheme || isSpecial(wanted) !== isSpecial(this.#record.scheme) || wanted === "file:" || this.#record.scheme === "file:") return;
    this.#record.scheme = wanted;
    this.#record.port = parsePort(this.#record.port, wanted);
  }
  get username() {
    return this.#record.username;
  }
  set username(value) {
    if (this.#record.host) this.#record.username = percentEncode(`${value}`, inUserinfo);
  }
  get password() {
    return this.#record.password;
  }
  set password(value) {
    if (this.#record.host) this.#record.password = percentEncode(`${value}`, inUserinfo);
  }
  get host() {
    return (this.#record.host ?? "") + (this.#record.port ? `:${this.#record.port}` : "");
  }
  set host(value) {
    if (this.#record.opaque !== null) return;
    const [, host, port] = /^(\[[^\]]*\]|[^:/\\?#]*)(?::([0-9]+))?/.exec(`${value}`) ?? [];
    this.#setHost(host ?? "");
    if (port !== undefined) this.port = port;
  }
  get hostname() {
    return this.#record.host ?? "";
  }
  set hostname(value) {
    if (this.#record.opaque === null) this.#setHost(/^(\[[^\]]*\]|[^:/\\?#]*)/.exec(`${value}`)[0]);
  }
  #setHost(text) {
    const host = text === "" ? null : parseHost(text, isSpecial(this.#record.scheme));
    if (host !== null) this.#record.host = host;
  }
  get port() {
    return this.#record.port;
  }
  set port(value) {
    if (!this.#record.host || this.#record.scheme === "file:") return;
    const digits = /^[0-9]*/.exec(`${value}`)[0];
    if (digits === "" && `${value}` !== "") return;
    this.#record.port = parsePort(digits, this.#record.scheme) ?? this.#record.port;
  }
  get pathname() {
    return pathText(this.#record);
  }
  set pathname(value) {
    if (this.#record.opaque !== null) return;
    const special = isSpecial(this.#record.scheme);
    this.#record.path = normalizePath(`${value}`.replaceAll("#", "%23").replaceAll("?", "%3F").replace(special ? /^[/\\]/ : /^\//, ""), null, special);
  }
  get search() {
    return this.#record.query ? `?${this.#record.query}` : "";
  }
  set search(value) {
    const text = `${value}`.replace(/^\?/, "");
    const isEncoded = isSpecial(this.#record.scheme) ? inSpecialQuery : inQuery;
    this.#record.query = text === "" ? null : percentEncode(text, isEncoded);
    this.#refreshParams();
  }
  get searchParams() {
    if (this.#params === null) {
      this.#params = new URLSearchParams();
      takeOwner(this.#params, this.#record.query, () => {
        this.#record.query = this.#params.toString() || null;
      });
    }
    return this.#params;
  }
  #refreshParams() {
    if (this.#params !== null) takeOwner(this.#params, this.#record.query, null);
  }
  get hash() {
    return this.#record.fragment ? `#${this.#record.fragment}` : "";
  }
  set hash(value) {
    const text = `${value}`.replace(/^#/, "");
    this.#record.fragment = text === "" ? null : percentEncode(text, inFragment);
  }
  get [Symbol.toStringTag]() {
    return "URL";
  }
  toString() {
    return this.href;
  }
  toJSON() {
    return this.href;
  }
}
