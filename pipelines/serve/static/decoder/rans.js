/** The entropy decoder: rANS with a state of 64 bits, kept in two halves of 32 bits. */

const STRIDE = 6;
const PLAIN = 0;

/** One payload, and how far it is decoded. */
export class RansDecoder {
  #starts;
  #view;
  #words;
  #next = 2;
  #high;
  #low;

  /**
   * @param {Uint8Array} payload two words or more
   * @param {Uint32Array} starts of tables, [tables, 6]
   */
  constructor(payload, starts) {
    this.#starts = starts;
    this.#view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
    this.#words = payload.byteLength / 4;
    this.#high = this.#view.getUint32(0, true);
    this.#low = this.#view.getUint32(4, true);
  }

  /** Decode one of `count` symbols by a table. */
  symbol(table, count) {
    const starts = this.#starts;
    const first = table * STRIDE;
    const slot = this.#low & 0xffff;
    let symbol = 0;
    while (symbol < count - 1 && slot >= starts[first + symbol + 1]) symbol++;
    const start = starts[first + symbol];
    this.#take(slot, start, starts[first + symbol + 1] - start);
    return symbol;
  }

  /** Decode a symbol of two, of which 1 has a frequency, 1 to 65,535. */
  bit(frequency) {
    const slot = this.#low & 0xffff;
    const start = 65536 - frequency;
    if (slot >= start) {
      this.#take(slot, start, frequency);
      return 1;
    }
    this.#take(slot, 0, start);
    return 0;
  }

  /** Take a symbol out of the state. */
  #take(slot, start, frequency) {
    // x = frequency * (x >> 16) + slot - start: the products stay below 2 ** 53
    const upper = this.#high >>> 16;
    const lower = (((this.#high & 0xffff) << 16) | (this.#low >>> 16)) >>> 0;
    const sum = frequency * lower + slot - start;
    this.#low = sum >>> 0;
    this.#high = frequency * upper + Math.floor(sum / 2 ** 32);
    if (this.#high === 0 && this.#low < 2 ** 31) {
      this.#high = this.#low;
      this.#low = this.#next < this.#words ? this.#view.getUint32(4 * this.#next, true) : 0;
      this.#next++;
    }
  }

  /** Decode a number in plain bits, the highest first. */
  plain(bits) {
    let value = 0;
    for (let i = 0; i < bits; i++) value = 2 * value + this.symbol(PLAIN, 2);
    return value;
  }

  /** Whether the payload ends here: rule S13. */
  get finished() {
    return this.#high === 0 && this.#low === 2 ** 31 && this.#next === this.#words;
  }
}
