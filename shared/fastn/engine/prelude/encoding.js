// TextEncoder and TextDecoder for UTF-8 (WHATWG Encoding); other encodings are refused by name.
const LABELS = new Set(["utf-8", "utf8", "unicode-1-1-utf-8", "unicode11utf8", "unicode20utf8", "x-unicode20utf8"]);
const CHUNK_UNITS = 8192; // String.fromCharCode takes its units as arguments, so they come in pieces

function encodeInto(source, target) {
  let read = 0;
  let written = 0;
  while (read < source.length) {
    let point = source.codePointAt(read);
    const units = point > 0xffff ? 2 : 1;
    if (point >= 0xd800 && point <= 0xdfff) point = 0xfffd;
    const size = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    if (written + size > target.length) break;
    if (size === 1) target[written++] = point;
    else {
      target[written++] = (size === 2 ? 0xc0 : size === 3 ? 0xe0 : 0xf0) | (point >> (6 * (size - 1)));
      for (let shift = 6 * (size - 2); shift >= 0; shift -= 6) target[written++] = 0x80 | ((point >> shift) & 0x3f);
    }
    read += units;
  }
  return { read, written };
}

export class TextEncoder {
  get encoding() {
    return "utf-8";
  }
  encode(input = "") {
    const source = `${input}`;
    const target = new Uint8Array(source.length * 3);
    return target.slice(0, encodeInto(source, target).written);
  }
  encodeInto(source, target) {
    return encodeInto(`${source}`, target);
  }
}

function bytesOf(input) {
  if (input === undefined) return new Uint8Array(0);
  if (input instanceof ArrayBuffer) return new Uint8Array(input);
  if (ArrayBuffer.isView(input)) return new Uint8Array(input.buffer, input.byteOffset, input.byteLength);
  throw new TypeError("The input of TextDecoder.decode must be an ArrayBuffer or a view of one.");
}

export class TextDecoder {
  #fatal;
  #ignoreBOM;
  #point = 0;
  #needed = 0;
  #lower = 0x80;
  #upper = 0xbf;
  #started = false;

  constructor(label = "utf-8", options = {}) {
    if (!LABELS.has(`${label}`.trim().toLowerCase())) {
      throw new RangeError(`The encoding '${label}' is not supported: only utf-8 is.`);
    }
    this.#fatal = Boolean(options?.fatal);
    this.#ignoreBOM = Boolean(options?.ignoreBOM);
  }
  get encoding() {
    return "utf-8";
  }
  get fatal() {
    return this.#fatal;
  }
  get ignoreBOM() {
    return this.#ignoreBOM;
  }

  decode(input, options = {}) {
    const bytes = bytesOf(input);
    const parts = [];
    let units = [];
    const emit = (point) => {
      if (!this.#started) {
        this.#started = true;
        if (point === 0xfeff && !this.#ignoreBOM) return;
      }
      if (point > 0xffff) units.push(0xd7c0 + (point >> 10), 0xdc00 | (point & 0x3ff));
      else units.push(point);
      if (units.length >= CHUNK_UNITS) {
        parts.push(String.fromCharCode(...units));
        units = [];
      }
    };
    for (let i = 0; i < bytes.length; i++) if (!this.#take(bytes[i], emit)) i--;
    if (!options?.stream) {
      if (this.#needed > 0) this.#malformed(emit);
      this.#started = false;
    }
    parts.push(String.fromCharCode(...units));
    return parts.join("");
  }

  // Returns false when the byte ended a broken sequence and must be read again as a first byte.
  #take(byte, emit) {
    if (this.#needed === 0) {
      this.#first(byte, emit);
      return true;
    }
    if (byte < this.#lower || byte > this.#upper) {
      this.#malformed(emit);
      return false;
    }
    this.#lower = 0x80;
    this.#upper = 0xbf;
    this.#point = (this.#point << 6) | (byte & 0x3f);
    if (--this.#needed === 0) emit(this.#point);
    return true;
  }

  #first(byte, emit) {
    if (byte < 0x80) emit(byte);
    else if (byte >= 0xc2 && byte <= 0xdf) this.#expect(1, byte & 0x1f, 0x80, 0xbf);
    else if (byte >= 0xe0 && byte <= 0xef) {
      this.#expect(2, byte & 0xf, byte === 0xe0 ? 0xa0 : 0x80, byte === 0xed ? 0x9f : 0xbf);
    } else if (byte >= 0xf0 && byte <= 0xf4) {
      this.#expect(3, byte & 7, byte === 0xf0 ? 0x90 : 0x80, byte === 0xf4 ? 0x8f : 0xbf);
    } else this.#malformed(emit);
  }

  #expect(needed, point, lower, upper) {
    this.#needed = needed;
    this.#point = point;
    this.#lower = lower;
    this.#upper = upper;
  }

  #malformed(emit) {
    this.#expect(0, 0, 0x80, 0xbf);
    if (this.#fatal) throw new TypeError("The encoded data was not valid utf-8.");
    emit(0xfffd);
  }
}
