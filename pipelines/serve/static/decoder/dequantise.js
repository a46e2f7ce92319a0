/** Reconstruction points and bounds of cells, in units of the finest steps. */

import { bandOrigin } from "./geometry.js";

const CENTROIDS = 4;
const KINDS = 2;
const MASKED_LEVELS = 4;

/** The cells of one state as numbers: points, bounds and steps of coefficients. */
export class Dequantiser {
  /**
   * @param {import("./symbols.js").Symbols} symbols
   * @param {import("./weights.js").Weights} weights
   */
  constructor(symbols, weights) {
    this.symbols = symbols;
    this.weights = weights;
    this.width = weights.widths[symbols.cellSteps - 1];
    this.zero = this.width - 1;
    this.classes = symbols.classMaps[0]; // of the first palette state
  }

  /** Expand a value from the scale on which cells are uniform. */
  expand(value) {
    const { knee, power } = this.weights.compander;
    if (power === 1) return value;
    const size = (1 + (Math.abs(value) * power) / knee) ** (1 / power) - 1;
    return Math.sign(value) * knee * size;
  }

  /** Return the points of a band, Float32Array [rows, columns], in finest steps. */
  points(band) {
    const { rows, columns } = this.symbols.geometry.bands[band];
    const { cell, planes } = this.symbols.state;
    const table = this.#table(band);
    const points = new Float32Array(rows * columns);
    for (let y = 0, at = 0; y < rows; y++) {
      const row = planes[band].at(y, 0);
      for (let x = 0; x < columns; x++, at++) {
        const index = cell[row + x];
        if (index) points[at] = index > 0 ? table(index) : -table(-index);
      }
    }
    return points;
  }

  /** Return a function from the number of a cell to its point, which remembers what it computed. */
  #table(band) {
    const { level, component } = bandOrigin(band);
    const first =
      CENTROIDS * (KINDS * (7 * (this.symbols.cellSteps - 1) + level) + (component ? 1 : 0));
    const known = [];
    return (index) => {
      known[index] ??= this.expand(
        this.zero + 0.5 + (index - 1) * this.width +
          this.width * this.weights.centroids[first + Math.min(index, CENTROIDS - 1)],
      );
      return known[index];
    };
  }

  /** Clip points of a band to the bounds of their cells, in place. */
  clip(band, points) {
    const { rows, columns } = this.symbols.geometry.bands[band];
    const { cell, planes } = this.symbols.state;
    const edges = [];
    const edge = (index) => (edges[index] ??= this.expand(this.zero + 0.5 + index * this.width));
    for (let y = 0, at = 0; y < rows; y++) {
      const row = planes[band].at(y, 0);
      for (let x = 0; x < columns; x++, at++) {
        const index = cell[row + x];
        const size = Math.abs(index);
        const high = edge(size);
        const low = size ? edge(size - 1) : -high;
        const value = index < 0 ? -points[at] : points[at];
        const clipped = Math.min(Math.max(value, low), high);
        points[at] = index < 0 ? -clipped : clipped;
      }
    }
  }

  /** Multiply points of a band by its quantisation steps; return a plane in pixel units. */
  inPixels(band, points) {
    const { level } = bandOrigin(band);
    const { rows, columns } = this.symbols.geometry.bands[band];
    const step = this.weights.steps[band];
    const data = new Float32Array(points.length);
    const masked = level >= 1 && level <= MASKED_LEVELS;
    const shift = MASKED_LEVELS - level;
    for (let y = 0, at = 0; y < rows; y++) {
      const row = masked ? (y >> shift) * this.symbols.geometry.columns : 0;
      for (let x = 0; x < columns; x++, at++) {
        if (points[at] === 0) continue;
        const mask = masked ? this.weights.mask[this.classes[row + (x >> shift)]] : 1;
        data[at] = points[at] * step * mask;
      }
    }
    return { rows, columns, data };
  }
}

