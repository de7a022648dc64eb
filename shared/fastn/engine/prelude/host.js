// Host names of URLs (WHATWG URL sections 3.3-3.6): domains with punycode (RFC 3492), IPv4 in all its
// spellings, IPv6. Unicode names are lower-cased and NFKC-normalized; the full UTS 46 table is not shipped.
const FORBIDDEN = /[\u0000-\u0020#/:<>?@[\\\]^|%\u007f]/;

function adapt(delta, count, first) {
  let value = first ? Math.floor(delta / 700) : delta >> 1;
  value += Math.floor(value / count);
  let k = 0;
  for (; value > 455; k += 36) value = Math.floor(value / 35);
  return k + Math.floor((36 * value) / (value + 38));
}

function digit(value) {
  return String.fromCharCode(value < 26 ? value + 97 : value + 22);
}

function punycode(label) {
  const points = Array.from(label, (char) => char.codePointAt(0));
  let output = points.filter((point) => point < 128).map((point) => String.fromCharCode(point)).join("");
  const basic = output.length;
  if (basic) output += "-";
  let [n, delta, bias, handled] = [128, 0, 72, basic];
  while (handled < points.length) {
    const next = Math.min(...points.filter((point) => point >= n));
    delta += (next - n) * (handled + 1);
    n = next;
    for (const point of points) {
      if (point < n) delta++;
      if (point !== n) continue;
      let q = delta;
      for (let k = 36; ; k += 36) {
        const threshold = k <= bias ? 1 : k >= bias + 26 ? 26 : k - bias;
        if (q < threshold) break;
        output += digit(threshold + ((q - threshold) % (36 - threshold)));
        q = Math.floor((q - threshold) / (36 - threshold));
      }
      output += digit(q);
      bias = adapt(delta, handled + 1, handled === basic);
      delta = 0;
      handled++;
    }
    delta++;
    n++;
  }
  return `xn--${output}`;
}

function parseIpv4Part(part) {
  if (part === "") return NaN;
  if (/^0[xX]/.test(part)) return part.length === 2 ? 0 : /^0[xX][0-9a-fA-F]+$/.test(part) ? parseInt(part, 16) : NaN;
  if (part.length > 1 && part[0] === "0") return /^[0-7]+$/.test(part) ? parseInt(part, 8) : NaN;
  return /^[0-9]+$/.test(part) ? parseInt(part, 10) : NaN;
}

function endsInNumber(parts) {
  const last = parts.at(-1);
  return /^[0-9]+$/.test(last) || /^0[xX][0-9a-fA-F]*$/.test(last);
}

function parseIpv4(parts) {
  const numbers = parts.map(parseIpv4Part);
  if (numbers.length > 4 || numbers.some(Number.isNaN)) return null;
  const last = numbers.pop();
  if (numbers.some((number) => number > 255) || last >= 256 ** (4 - numbers.length)) return null;
  const address = numbers.reduce((sum, number, i) => sum + number * 256 ** (3 - i), last);
  return [24, 16, 8, 0].map((shift) => Math.floor(address / 2 ** shift) % 256).join(".");
}

function ipv6Pieces(text) {
  if (text === "") return [];
  const pieces = text.split(":");
  const tail = pieces.at(-1);
  if (tail.includes(".")) {
    const bytes = tail.split(".");
    if (bytes.length !== 4 || !bytes.every((byte) => /^(0|[1-9]\d{0,2})$/.test(byte) && +byte < 256)) return null;
    const [a, b, c, d] = bytes.map(Number);
    pieces.splice(-1, 1, (a * 256 + b).toString(16), (c * 256 + d).toString(16));
  }
  return pieces.every((piece) => /^[0-9a-fA-F]{1,4}$/.test(piece)) ? pieces.map((piece) => parseInt(piece, 16)) : null;
}

function parseIpv6(text) {
  const halves = text.split("::");
  if (halves.length > 2) return null;
  if (halves.length === 2 && halves[0].includes(".")) return null;
  const head = ipv6Pieces(halves[0]);
  const tail = halves.length === 2 ? ipv6Pieces(halves[1]) : [];
  if (head === null || tail === null) return null;
  const missing = 8 - head.length - tail.length;
  if (halves.length === 2 ? missing < 1 : missing !== 0) return null;
  return serializeIpv6([...head, ...Array(missing).fill(0), ...tail]);
}

function serializeIpv6(pieces) {
  let best = { start: -1, length: 1 };
  for (let i = 0; i < 8; i++) {
    let length = 0;
    while (i + length < 8 && pieces[i + length] === 0) length++;
    if (length > best.length) best = { start: i, length };
    i += length;
  }
  const hex = pieces.map((piece) => piece.toString(16));
  if (best.start < 0) return `[${hex.join(":")}]`;
  return `[${hex.slice(0, best.start).join(":")}::${hex.slice(best.start + best.length).join(":")}]`;
}

function percentDecode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return null;
  }
}

// Returns the serialized host, or null when it is not a valid one.
export function parseHost(text, isSpecial) {
  if (text.startsWith("[")) return text.endsWith("]") ? parseIpv6(text.slice(1, -1)) : null;
  if (!isSpecial) return FORBIDDEN.test(text.replaceAll("%", "")) ? null : text;
  const decoded = percentDecode(text);
  if (decoded === null) return null;
  const name = decoded.normalize("NFKC").toLowerCase().replaceAll(/[\u00ad\u200b\u2060\ufeff]/g, "").replaceAll(/[\u3002\uff0e\uff61]/g, ".");
  const ascii = name.split(".").map((label) => (/^[\u0000-\u007f]*$/.test(label) ? label : punycode(label))).join(".");
  if (ascii === "" || FORBIDDEN.test(ascii)) return null;
  const parts = ascii.split(".");
  if (parts.length > 1 && parts.at(-1) === "") parts.pop();
  return endsInNumber(parts) ? parseIpv4(parts) : ascii;
}
