/** Small pictures on the pixel grid of a scaled photo: "Smaller pictures" of docs/stream.md. */

import { planeOf } from "./wavelet.js";

/** Weights a0 to a3 for distances below 1 and b0 to b3 below 2, by shrink level. */
const FILTERS = {
  1: [[0.9124, 0.0807, -1.7984, 0.8905], [0.0442, -0.6722, 0.8325, -0.246]],
  2: [[0.933, 0.0942, -1.9117, 0.9651], [0.0341, -0.6995, 0.9242, -0.3059]],
  3: [[0.9487, 0.0642, -1.8923, 0.9512], [0.0264, -0.6938, 0.9282, -0.3073]],
  4: [[0.9525, 0.0606, -1.896, 0.9527], [0.0248, -0.6924, 0.9249, -0.3038]],
};
const TAPS = 4;

/** Resample a plane to rows x columns; `height` and `width` are those of the full picture. */
export function resampled(plane, height, width, shrinkLevel) {
  const alongY = taps(height, plane.rows, shrinkLevel);
  const alongX = taps(width, plane.columns, shrinkLevel);
  const rows = alongY.length / TAPS;
  const columns = alongX.length / TAPS;
  const middle = planeOf(plane.rows, columns);
  for (let y = 0; y < plane.rows; y++) {
    const row = y * plane.columns;
    for (let x = 0; x < columns; x++) {
      let sum = 0;
      for (let tap = TAPS * x; tap < TAPS * (x + 1); tap++) {
        sum += alongX[tap].weight * plane.data[row + alongX[tap].at];
      }
      middle.data[y * columns + x] = sum;
    }
  }
  const result = planeOf(rows, columns);
  for (let y = 0; y < rows; y++) {
    for (let tap = TAPS * y; tap < TAPS * (y + 1); tap++) {
      const { at, weight } = alongY[tap];
      for (let x = 0; x < columns; x++) {
        result.data[y * columns + x] += weight * middle.data[at * columns + x];
      }
    }
  }
  return result;
}

/** Return four { at, weight } for each pixel along an axis of `full` pixels and `samples` samples. */
function taps(full, samples, shrinkLevel) {
  const scale = 2 ** shrinkLevel;
  const count = Math.ceil(full / scale);
  const found = [];
  for (let i = 0; i < count; i++) {
    // the place ((i + 1/2) full / count - 1/2) / scale as a fraction, so that its floor is exact
    const above = (2 * i + 1) * full - count;
    const below = 2 * count * scale;
    const floor = Math.floor(above / below);
    const rest = (above - floor * below) / below;
    const weights = [1 + rest, rest, 1 - rest, 2 - rest].map((d) => filter(shrinkLevel, d));
    const sum = weights.reduce((a, b) => a + b);
    weights.forEach((weight, tap) => {
      const at = Math.min(Math.max(floor - 1 + tap, 0), samples - 1);
      found.push({ at, weight: weight / sum });
    });
  }
  return found;
}

function filter(shrinkLevel, distance) {
  if (distance >= 2) return 0;
  const near = distance < 1;
  const [c0, c1, c2, c3] = FILTERS[shrinkLevel][near ? 0 : 1];
  const d = near ? distance : distance - 1;
  return c0 + d * (c1 + d * (c2 + d * c3));
}
