/** Cell steps: every coefficient from one state of the scalar chain to the next finer one. */

import { Estimates, inWidths, nearIndex } from "./estimates.js";
import { BANDS, FLAG_GROUPS, bandNumber, bandOrigin } from "./geometry.js";

const BINS = 24;
const EDGES = [
  1, 2, 3, 4, 5, 6, 8, 10, 13, 17, 22, 29, 38, 50, 66, 87, 114, 150, 197, 259, 340, 448, 589,
];
const LAST_EDGE = EDGES.at(-1);
const BIN = Uint8Array.from({ length: LAST_EDGE + 1 }, (_, value) => {
  return EDGES.filter((edge) => value >= edge).length;
});
const SIGN_EDGES = [2, 6, 11, 18, 27, 38, 52];
const SIGN_BINS = 8;

const FEATURES = 13;
const SIGN_FEATURES = 11;
const FLAG_FEATURES = 9;
const TABLES = { block: 57, zero: 345, first: 1713, other: 3081, sign: 4449 };
const FIRST_CELLS = 129;

/** Cells of the first state that need no group: numbers 1 to 5 have symbols of their own. */
const NEAR_CELLS = 5;
const FAR_BITS = 2;

/** Return the bin of an activity that is shifted to the scale of the edges. */
function binOf(scaled) {
  return scaled <= 0 ? 0 : BIN[scaled < LAST_EDGE ? scaled : LAST_EDGE];
}

/** Return a sign as a digit to base 3. */
function digit(value) {
  return value > 0 ? 1 : value < 0 ? 2 : 0;
}

/** A rectangle in a flat array, with a margin of zeros around it. */
class Plane {
  constructor(offset, { rows, columns }, margin) {
    this.rows = rows;
    this.columns = columns;
    this.stride = columns + 2 * margin;
    this.first = offset + margin * this.stride + margin;
    this.end = offset + (rows + 2 * margin) * this.stride;
  }

  /** Return the index of row y and column x. */
  at(y, x) {
    return this.first + y * this.stride + x;
  }
}

function planesOf(shapes, margin) {
  let offset = 0;
  return shapes.map((shape) => {
    const plane = new Plane(offset, shape, margin);
    offset = plane.end;
    return plane;
  });
}

/** Cells and magnitudes of all bands, flags and sums of all blocks; all zero in the root. */
export class CellState {
  constructor(geometry) {
    this.planes = planesOf(geometry.bands, 2);
    this.blocks = planesOf(geometry.blocks, 1);
    this.cell = new Int32Array(this.planes.at(-1).end);
    this.magnitude = new Int32Array(this.planes.at(-1).end);
    this.flag = new Uint8Array(this.blocks.at(-1).end);
    this.sum = new Int32Array(this.blocks.at(-1).end);
    this.positionColumns = geometry.columns;
  }
}

/** Decodes one step of the bands of one part. */
export class CellCoder {
  /**
   * @param {import("./rans.js").RansDecoder} coder
   * @param {import("./weights.js").Weights} weights
   * @param {CellState} state is taken from one state of the chain to the next
   * @param {number} step of the chain
   * @param {number} tables first table of the step
   * @param {Int32Array} classMap of the last palette state
   */
  constructor(coder, weights, state, step, tables, classMap) {
    Object.assign(this, { coder, weights, state, step, tables, classMap });
    const widths = weights.widths;
    this.width = widths[step];
    this.zero = this.width - 1;
    this.widthBefore = widths[Math.max(step - 1, 0)];
    this.zeroBefore = step ? this.widthBefore - 1 : (FIRST_CELLS + 1) * this.width - 1;
    const halves =
      this.widthBefore === 2 * this.width && this.zeroBefore - this.zero === this.width;
    /** Of splits of cell 0 and signs; null in a step that codes these with tables. */
    this.estimates = halves ? new Estimates(coder, weights) : null;
  }

  /** Decode bands `first` to `end` - 1; return whether the step is possible: rule S18. */
  decode(first, end) {
    let empty = false;
    for (let band = first; band < end; band++) {
      const { level, component, orientation } = bandOrigin(band);
      const group = level >= 1 && level <= 4 ? 3 * (4 - level) + component : -1;
      if (orientation === 0) {
        empty = this.coder.symbol(this.tables + band, 2) === 0;
        if (empty && this.#hasLeftZero(band, level)) return false;
        if (group >= 0) {
          if (empty) this.#clearFlags(group);
          else this.#decodeFlags(group, level, component);
        }
      }
      if (!empty) this.#decodeBand(band, level, component, orientation, group);
    }
    return true;
  }

  #hasLeftZero(band, level) {
    const { cell, planes } = this.state;
    const last = planes[band + (level ? 2 : 0)];
    // margins are zero, so that the arrays of a group are searched as one
    const begin = band ? planes[band - 1].end : 0;
    return cell.subarray(begin, last.end).some((each) => each !== 0);
  }

  #clearFlags(group) {
    const { blocks, flag } = this.state;
    flag.fill(0, group ? blocks[group - 1].end : 0, blocks[group].end);
  }

  #decodeFlags(group, level, component) {
    const { coder, width, classMap } = this;
    const { blocks, flag, sum, positionColumns } = this.state;
    const { law } = this.weights;
    const first = FLAG_FEATURES * (this.step * FLAG_GROUPS + group);
    const w = this.weights.flagActivity.subarray(first, first + FLAG_FEATURES);
    const table = this.tables + TABLES.block + BINS * group;
    const plane = blocks[group];
    const lit = (at) => (flag[at] ? 1 : 0);
    const seen = (other, y, x) => {
      const at = blocks[other].at(y, x);
      return width * lit(at) + (sum[at] >> 2);
    };
    const lawOfGroup = bandNumber(level, component, 0);
    const shift = 2 - level;
    for (let y = 0; y < plane.rows; y++) {
      for (let x = 0; x < plane.columns; x++) {
        const at = plane.at(y, x);
        if (sum[at] !== 0) {
          flag[at] = 2;
          continue;
        }
        const north = at - plane.stride;
        const south = at + plane.stride;
        const row = shift >= 0 ? y >> shift : y << -shift;
        const column = shift >= 0 ? x >> shift : x << -shift;
        const ofClass = BANDS * classMap[row * positionColumns + column] + lawOfGroup;
        const expected = law[ofClass] + law[ofClass + 1] + law[ofClass + 2];
        const activity =
          w[0] * width * lit(at - 1) +
          w[1] * width * lit(north) +
          w[2] * width * (lit(north - 1) + lit(north + 1)) +
          w[3] * ((sum[at - 1] + sum[at + 1] + sum[north] + sum[south]) >> 2) +
          w[4] * ((sum[north - 1] + sum[north + 1] + sum[south - 1] + sum[south + 1]) >> 2) +
          w[5] * (level < 4 ? seen(group - 3, y >> 1, x >> 1) : 0) +
          w[6] * (component ? seen(group - component, y, x) : 0) +
          w[7] * Math.floor(expected / 3) +
          w[8];
        flag[at] = coder.symbol(table + binOf(Math.floor(activity / 1024)), 2);
      }
    }
  }

  #decodeBand(band, level, component, orientation, group) {
    const { coder, state, step, tables, zero, width, zeroBefore, widthBefore, estimates } = this;
    const { cell, magnitude: m, planes, blocks, flag, sum } = state;
    const { law } = this.weights;
    const { imul } = Math;
    const w = this.weights.activity.subarray(FEATURES * (step * BANDS + band)).subarray(0, FEATURES);
    const plane = planes[band];
    const block = group >= 0 ? blocks[group] : null;
    const parents = level >= 1 && level <= 5 ? planes[bandNumber(level + 1, component, orientation)] : null;
    const sibling1 = orientation >= 1 ? planes[band - 1] : null;
    const sibling2 = orientation === 2 ? planes[band - 2] : null;
    const light = component >= 1 ? planes[bandNumber(level, 0, orientation)] : null;
    const chroma = component === 2 ? planes[bandNumber(level, 1, orientation)] : null;
    const shift = (level || 6) - 4;
    const stride = plane.stride;
    const parts = widthBefore / width;
    const spread = (zeroBefore - zero) / width;
    const zeroTable = tables + TABLES.zero + BINS * band;
    const firstTable = tables + TABLES.first + BINS * band;
    const otherTable = tables + TABLES.other + BINS * band;
    const { mixesSplits } = this.weights;
    estimates?.start(step * BANDS + band, zeroTable, tables + TABLES.sign + SIGN_BINS * band);
    for (let y = 0; y < plane.rows; y++) {
      const row = (shift >= 0 ? y << shift : y >> -shift) * state.positionColumns;
      for (let x = 0; x < plane.columns; x++) {
        const blockAt = block ? block.at(y >> 2, x >> 2) : 0;
        if (block && flag[blockAt] === 0) {
          x |= 3; // the rest of the row of the block
          continue;
        }
        const at = plane.at(y, x);
        const own = m[at];
        const first = sibling1 ? m[sibling1.at(y, x)] : own;
        const second = sibling2 ? m[sibling2.at(y, x)] : first;
        const above = parents ? m[parents.at(y >> 1, x >> 1)] : own;
        const lightness = light ? m[light.at(y, x)] : own;
        const position = row + (shift >= 0 ? x << shift : x >> -shift);
        const activity =
          imul(w[0], m[at - 1]) + imul(w[1], m[at + 1]) +
          imul(w[2], m[at - stride]) + imul(w[3], m[at + stride]) +
          imul(w[4], m[at - stride - 1] + m[at - stride + 1]) +
          imul(w[5], m[at + stride - 1] + m[at + stride + 1]) +
          imul(w[6], m[at - 2] + m[at - 2 * stride]) +
          imul(w[7], above) +
          imul(w[8], first + second) +
          imul(w[9], lightness) +
          imul(w[10], chroma ? m[chroma.at(y, x)] : own) +
          imul(w[11], law[BANDS * this.classMap[position] + band]) +
          w[12];
        const scaled = activity >> 10;
        const bin = binOf(scaled);
        const before = cell[at];
        const size = Math.abs(before);
        let number;
        if (step === 0) {
          number = this.#firstCell(zeroTable + bin, firstTable + bin, otherTable + bin);
        } else if (before === 0 && estimates && mixesSplits) {
          // relatives that do not exist are the coefficient itself, which is in cell 0
          const relatives =
            (inWidths(above, width) << 6) | (inWidths(first, width) << 4) |
            (inWidths(second, width) << 2) | inWidths(lightness, width);
          number = estimates.mixedSplit(bin, relatives, nearIndex(scaled, m[at - 1], width));
        } else if (before === 0 && estimates) {
          number = estimates.split(bin);
        } else if (before === 0) {
          number = coder.symbol(zeroTable + bin, 1 + spread);
        } else {
          const table = size === 1 ? firstTable : otherTable;
          number = spread + (size - 1) * parts + 1 + coder.symbol(table + bin, parts);
        }
        if (number === 0) continue;
        let negative = before < 0;
        if (before === 0) {
          const up = parents ? cell[parents.at(y >> 1, x >> 1)] : 0;
          const beside = light ? cell[light.at(y, x)] : 0;
          const other = chroma ? cell[chroma.at(y, x)] : 0;
          negative = this.#isNegative(band, at, stride, beside, other, up);
        }
        const now = zero + number * width - (width >> 1);
        if (block) sum[blockAt] += now - own;
        cell[at] = negative ? -number : number;
        m[at] = now;
      }
    }
  }

  /** Decode the number of a cell of the first state. */
  #firstCell(zeroTable, firstTable, otherTable) {
    const { coder } = this;
    let number = coder.symbol(zeroTable, 3);
    if (number === 2) number += coder.symbol(firstTable, 5);
    if (number <= NEAR_CELLS) return number;
    const far = coder.symbol(otherTable, 5);
    return number + (((1 << far) - 1) << FAR_BITS) + coder.plain(FAR_BITS + far);
  }

  #isNegative(band, at, stride, light, chroma, parent) {
    const { cell } = this.state;
    const { sign } = Math;
    const first = SIGN_FEATURES * (this.step * BANDS + band);
    const w = this.weights.signWeights;
    const west = sign(cell[at - 1]);
    const east = sign(cell[at + 1]);
    const north = sign(cell[at - stride]);
    const south = sign(cell[at + stride]);
    const context =
      w[first] * west +
      w[first + 1] * east +
      w[first + 2] * north +
      w[first + 3] * south +
      w[first + 4] * sign(cell[at - 2]) +
      w[first + 5] * sign(cell[at + 2]) +
      w[first + 6] * sign(cell[at - 2 * stride]) +
      w[first + 7] * sign(cell[at + 2 * stride]) +
      w[first + 8] * sign(light) +
      w[first + 9] * sign(chroma) +
      w[first + 10] * sign(parent);
    const size = Math.abs(context);
    let bin = 0;
    while (bin < SIGN_EDGES.length && size >= SIGN_EDGES[bin]) bin++;
    if (this.estimates) {
      const relatives = 27 * digit(light) + 9 * digit(chroma) + 3 * digit(parent);
      const around = 27 * digit(west) + 9 * digit(east) + 3 * digit(north) + digit(south);
      return !this.estimates.sign(
        bin, context >= 0, around, relatives + digit(west), relatives + digit(north),
      );
    }
    const wrong = this.coder.symbol(this.tables + TABLES.sign + SIGN_BINS * band + bin, 2) === 1;
    return (context < 0) !== wrong;
  }
}
