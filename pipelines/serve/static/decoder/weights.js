/** The weights file of docs/stream.md: tables, class laws, steps, the learned lifting step and the backward network. */

import { WeightsDamaged } from "./errors.js";
import { MOST_COUNT, MOST_MIXING } from "./estimates.js";

const FORMAT = 6;
const SYMBOLS = 5;
const TOTAL = 65536;
export const PALETTE_TABLES = 18;
export const CELL_TABLES = 4905;

/** Products up to here are exact in the numbers of JavaScript. */
const EXACT = 2 ** 53;

/** The weights of one id, with typed arrays in row order. */
export class Weights {
  constructor(id, config, tensor) {
    const { codec, network, prediction } = config;
    this.id = id;
    this.widths = codec.widths;
    this.plan = codec.layers.map((each) => ({
      paletteSteps: each.palette_steps,
      cellSteps: each.cell_steps,
    }));
    this.paletteSteps = this.plan.reduce((sum, each) => sum + each.paletteSteps, 0);
    this.compander = codec.compander;
    this.starts = startsOf(tensor("frequencies"));
    this.activity = tensor("activity");
    this.flagActivity = tensor("flag_activity");
    this.signWeights = tensor("sign_weights");
    this.mixesSplits = codec.mixes_splits;
    this.shear = codec.shear;
    this.estimates = {
      shares: tensor("estimates.shares"),
      counts: tensor("estimates.counts"),
      mixing: tensor("estimates.mixing"),
    };
    this.law = tensor("classes.law");
    this.classes = this.law.length / 57;
    this.mask = tensor("classes.mask");
    this.steps = tensor("steps");
    this.centroids = tensor("centroids");
    this.network = network;
    this.prediction = prediction ?? null;
    this.tensor = tensor;
    this.#checkExactness();
  }

  /** Return the frequency of symbol 1 in a table of two. */
  frequencyOfOne(table) {
    return TOTAL - this.starts[table * (SYMBOLS + 1) + 1];
  }

  /** Refuse weights by which an activity, or a sum of log-odds, could leave the range of exact integers. */
  #checkExactness() {
    const largest = (values) => values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const sum = 48 * 130 * this.widths[0];
    const most = 9 * largest(this.flagActivity) * Math.max(2 * sum, largest(this.law));
    if (most >= EXACT) throw new WeightsDamaged("weights of blocks beyond what this reader adds up");
    const { shares, counts, mixing } = this.estimates;
    if (shares.includes(0) || largest(counts) > MOST_COUNT || largest(mixing) > MOST_MIXING) {
      throw new WeightsDamaged("estimates that break rule W13");
    }
  }

  /**
   * Read a weights file.
   * @param {ArrayBuffer} buffer
   * @returns {Promise<Weights>}
   */
  static async read(buffer) {
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", buffer));
    const id = [...digest.subarray(0, 8)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    const view = new DataView(buffer);
    const length = Number(view.getBigUint64(0, true));
    if (8 + length > buffer.byteLength) throw new WeightsDamaged("no safetensors file");
    const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
    const config = JSON.parse(header.__metadata__.underpaint);
    if (config.format !== FORMAT) throw new WeightsDamaged(`weights of format ${config.format}`);
    const read = new Map();
    const tensor = (name) => {
      if (!read.has(name)) read.set(name, readTensor(buffer, 8 + length, header[name], name));
      return read.get(name);
    };
    return new Weights(id, config, tensor);
  }
}

/** Return frequencies [tables, 5] as starts, Uint32Array [tables, 6]; absent symbols end at 65,536. */
function startsOf(frequencies) {
  const tables = frequencies.length / SYMBOLS;
  const starts = new Uint32Array(tables * (SYMBOLS + 1));
  for (let table = 0; table < tables; table++) {
    for (let symbol = 0; symbol < SYMBOLS; symbol++) {
      const at = table * (SYMBOLS + 1) + symbol;
      starts[at + 1] = starts[at] + frequencies[table * SYMBOLS + symbol];
    }
  }
  return starts;
}

const TYPES = { U8: Uint8Array, U16: Uint16Array, I16: Int16Array, I32: Int32Array, F32: Float32Array };

function readTensor(buffer, base, entry, name) {
  if (!entry) throw new WeightsDamaged(`no tensor ${name}`);
  const [begin, end] = entry.data_offsets.map((offset) => base + offset);
  const bytes = buffer.slice(begin, end); // aligned; every platform of a browser is little endian
  if (entry.dtype === "F16") return Float32Array.from(new Uint16Array(bytes), floatOfHalf);
  if (!(entry.dtype in TYPES)) throw new WeightsDamaged(`${name} has the type ${entry.dtype}`);
  return new TYPES[entry.dtype](bytes);
}

/** Return the value of the 16 bits of a half-precision number. */
function floatOfHalf(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}
