/** From symbols to a picture: "From symbols to the picture" of docs/stream.md. */

import { Dequantiser } from "./dequantise.js";
import { shrunkSides } from "./frames.js";
import { bandNumber } from "./geometry.js";
import { refineCoarse, refineFine } from "./network.js";
import { predictDetails } from "./prediction.js";
import { resampled } from "./resampling.js";
import { joinLevel } from "./wavelet.js";

const COARSEST = 6;
const QUARTER = 2;
const COMPONENTS = [0, 1, 2];
const ORIENTATIONS = [0, 1, 2];

/**
 * Reconstruct the picture of symbols.
 *
 * @param {import("./symbols.js").Symbols} symbols
 * @param {import("./weights.js").Weights} weights
 * @param {{shrinkLevel?: number, refine?: boolean}} options `shrinkLevel` at least that of the
 *   symbols; `refine` estimates coefficients with the backward network
 * @returns {{width: number, height: number, data: Uint8ClampedArray}} RGBA, as ImageData holds it
 */
export function reconstruct(symbols, weights, { shrinkLevel = 0, refine = false } = {}) {
  const levels = new Levels(symbols, weights);
  let planes = COMPONENTS.map((band) => levels.dequantiser.inPixels(band, levels.points(band)));
  let level = COARSEST;
  const joinTo = (last) => {
    for (; level > last; level--) {
      if (level === 1) rotateBack(planes, symbols.angles);
      const details = predictDetails(weights, level, symbols.cellSteps, planes);
      planes = COMPONENTS.map((each) => {
        const bands = levels.bands(level, each);
        if (details) bands.forEach((band, orientation) => add(band.data, details[each][orientation]));
        return joinLevel(planes[each], bands);
      });
    }
  };
  joinTo(4);
  if (refine && shrinkLevel <= QUARTER) {
    const features = refineCoarse(levels, planes);
    joinTo(QUARTER);
    if (shrinkLevel === 0) refineFine(levels, planes, features);
  }
  joinTo(shrinkLevel);
  if (shrinkLevel === 0) {
    return colours(planes, weights.shear, symbols.header.height, symbols.header.width);
  }
  rotateBack(planes, symbols.angles);
  const { height, width } = symbols.header;
  for (const plane of planes) {
    for (let at = 0; at < plane.data.length; at++) plane.data[at] /= 2 ** shrinkLevel;
  }
  const small = planes.map((plane) => resampled(plane, height, width, shrinkLevel));
  const sides = shrunkSides(symbols.header, shrinkLevel);
  return colours(small, weights.shear, sides.height, sides.width);
}

/** The bands of a picture, at their reconstruction points until a network moves them. */
export class Levels {
  #points = new Map();

  constructor(symbols, weights) {
    this.symbols = symbols;
    this.weights = weights;
    this.dequantiser = new Dequantiser(symbols, weights);
  }

  /** Return the points of a band, in finest steps: the same array at each call. */
  points(band) {
    if (!this.#points.has(band)) this.#points.set(band, this.dequantiser.points(band));
    return this.#points.get(band);
  }

  /** Return the planes of a level and component, in pixel units; their points are let go. */
  bands(level, component) {
    return ORIENTATIONS.map((orientation) => {
      const band = bandNumber(level, component, orientation);
      const plane = this.dequantiser.inPixels(band, this.points(band));
      this.#points.delete(band);
      return plane;
    });
  }
}

/** Add numbers to others, in place. */
function add(to, numbers) {
  for (let at = 0; at < to.length; at++) to[at] += numbers[at];
}

/** Undo the rotation of colours, in place. */
function rotateBack([light, first, second], angles) {
  if (!angles.some(Boolean)) return;
  const [alpha, beta, gamma] = angles.map((angle) => (angle * Math.PI) / 256);
  rotate(light.data, second.data, gamma);
  rotate(light.data, first.data, beta);
  rotate(first.data, second.data, alpha);
}

function rotate(p, q, angle) {
  const cos = Math.cos(angle);
  const sin = Math.sin(angle);
  for (let at = 0; at < p.length; at++) {
    const value = p[at];
    p[at] = value * cos - q[at] * sin;
    q[at] = value * sin + q[at] * cos;
  }
}

/** Return RGBA of sheared opponent colours, without padding. */
function colours([light, first, second], [firstShare, secondShare], height, width) {
  const data = new Uint8ClampedArray(4 * height * width); // clips, and rounds halves to even
  for (let y = 0, to = 0; y < height; y++) {
    for (let x = 0, at = y * light.columns; x < width; x++, at++) {
      const chroma = firstShare * first.data[at] + secondShare * second.data[at];
      const grey = 128 + (light.data[at] - chroma) / Math.sqrt(3);
      const c1 = first.data[at] / Math.SQRT2;
      const c2 = second.data[at] / Math.sqrt(6);
      data[to++] = grey + c1 - c2;
      data[to++] = grey + 2 * c2;
      data[to++] = grey - c1 - c2;
      data[to++] = 255;
    }
  }
  return { width, height, data };
}
