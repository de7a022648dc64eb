// Randomness the host decides: one 32-byte seed per run, so a replay draws the same values.
// crypto.* runs on ChaCha20 (RFC 8439 section 2.3) under the seed as key; Math.random on sfc32, whose
// state is drawn from the same stream.
const WORDS_PER_BLOCK = 16;

function rotate(value, bits) {
  return (value << bits) | (value >>> (32 - bits));
}

function quarterRound(s, a, b, c, d) {
  s[a] = (s[a] + s[b]) | 0;
  s[d] = rotate(s[d] ^ s[a], 16);
  s[c] = (s[c] + s[d]) | 0;
  s[b] = rotate(s[b] ^ s[c], 12);
  s[a] = (s[a] + s[b]) | 0;
  s[d] = rotate(s[d] ^ s[a], 8);
  s[c] = (s[c] + s[d]) | 0;
  s[b] = rotate(s[b] ^ s[c], 7);
}

function chachaBlock(key, counter) {
  const state = new Int32Array(WORDS_PER_BLOCK);
  state[0] = 0x61707865;
  state[1] = 0x3320646e;
  state[2] = 0x79622d32;
  state[3] = 0x6b206574;
  for (let i = 0; i < 8; i++) state[4 + i] = key[i];
  state[12] = counter | 0;
  state[13] = Math.floor(counter / 2 ** 32) | 0;
  const s = new Int32Array(WORDS_PER_BLOCK);
  for (let i = 0; i < WORDS_PER_BLOCK; i++) s[i] = state[i];
  for (let round = 0; round < 10; round++) {
    quarterRound(s, 0, 4, 8, 12);
    quarterRound(s, 1, 5, 9, 13);
    quarterRound(s, 2, 6, 10, 14);
    quarterRound(s, 3, 7, 11, 15);
    quarterRound(s, 0, 5, 10, 15);
    quarterRound(s, 1, 6, 11, 12);
    quarterRound(s, 2, 7, 8, 13);
    quarterRound(s, 3, 4, 9, 14);
  }
  for (let i = 0; i < WORDS_PER_BLOCK; i++) s[i] = (s[i] + state[i]) | 0;
  return s;
}

function hex(byte) {
  return (byte < 16 ? "0" : "") + byte.toString(16);
}

const INTEGER_ARRAYS = [
  Int8Array, Uint8Array, Uint8ClampedArray, Int16Array, Uint16Array, Int32Array, Uint32Array,
  BigInt64Array, BigUint64Array,
];
const QUOTA_BYTES = 65536; // the Web Cryptography API's own limit for one call

export function createRandom() {
  const key = new Int32Array(8);
  let counter = 0;
  let block = new Int32Array(WORDS_PER_BLOCK);
  let used = WORDS_PER_BLOCK;
  let a = 0;
  let b = 0;
  let c = 0;
  let d = 1;

  function nextWord() {
    if (used === WORDS_PER_BLOCK) {
      block = chachaBlock(key, counter++);
      used = 0;
    }
    return block[used++];
  }

  function fill(bytes) {
    for (let i = 0; i < bytes.length; i += 4) {
      const word = nextWord();
      for (let j = 0; j < 4 && i + j < bytes.length; j++) bytes[i + j] = (word >>> (8 * j)) & 255;
    }
  }

  function nextSmall() {
    const result = (((a + b) | 0) + d) | 0;
    d = (d + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (rotate(c, 21) + result) | 0;
    return result >>> 0;
  }

  return {
    seed(bytes) {
      for (let i = 0; i < 8; i++) {
        key[i] = bytes[4 * i] | (bytes[4 * i + 1] << 8) | (bytes[4 * i + 2] << 16) | (bytes[4 * i + 3] << 24);
      }
      counter = 0;
      used = WORDS_PER_BLOCK;
      a = nextWord();
      b = nextWord();
      c = nextWord();
      d = 1;
    },
    // 53 bits, as every engine gives.
    mathRandom: () => ((nextSmall() >>> 5) * 67108864 + (nextSmall() >>> 6)) / 9007199254740992,
    crypto: Object.freeze({
      getRandomValues(array) {
        if (!INTEGER_ARRAYS.some((type) => array instanceof type)) {
          throw new DOMException("The argument must be an integer typed array.", "TypeMismatchError");
        }
        if (array.byteLength > QUOTA_BYTES) {
          throw new DOMException(`At most ${QUOTA_BYTES} bytes can be drawn at once.`, "QuotaExceededError");
        }
        fill(new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
        return array;
      },
      // RFC 9562 section 5.4.
      randomUUID() {
        const bytes = new Uint8Array(16);
        fill(bytes);
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        let out = "";
        for (let i = 0; i < 16; i++) out += (i === 4 || i === 6 || i === 8 || i === 10 ? "-" : "") + hex(bytes[i]);
        return out;
      },
    }),
  };
}
