/** The backward network: it estimates coefficients within the bounds of their cells. */

import { bandNumber } from "./geometry.js";

const FOLDED = 4;
const COMPONENTS = [0, 1, 2];
const ORIENTATIONS = [0, 1, 2];
const LOW_CHANNELS = 3;
const LEVEL_CHANNELS = 9;
const CHANNELS = LOW_CHANNELS + LEVEL_CHANNELS + FOLDED * LEVEL_CHANNELS;
const LOW_SCALE = 1024;
const KERNEL = 5;

/** Values at positions: Float32Array [rows, columns, channels]. */
class Field {
  constructor(rows, columns, channels) {
    Object.assign(this, { rows, columns, channels });
    this.data = new Float32Array(rows * columns * channels);
  }
}

/**
 * Refine levels 4 and 3 and the low part below them, in place.
 *
 * @param {import("./picture.js").Levels} levels
 * @param {Array} low planes of the low part that level 4 is joined to
 * @returns {Field} features for `refineFine`, at a quarter of the sides
 */
export function refineCoarse(levels, low) {
  const { weights, symbols } = levels;
  const { rows, columns } = low[0];
  const embedding = weights.tensor("network.class_embedding.weight");
  const size = weights.network.embedding;
  const inputs = new Field(rows, columns, CHANNELS + LOW_CHANNELS + size);
  writeInputs(levels, inputs, low, 4);
  const classes = symbols.classMaps.at(-1);
  for (let position = 0; position < rows * columns; position++) {
    const to = position * inputs.channels + CHANNELS;
    for (const each of COMPONENTS) inputs.data[to + each] = low[each].data[position] / LOW_SCALE;
    const from = size * classes[position];
    inputs.data.set(embedding.subarray(from, from + size), to + LOW_CHANNELS);
  }
  const x = trunk(weights, "coarse", inputs, symbols.layers - 1);
  applyChange(levels, linear(weights, "coarse_out", x), low, 4);
  return unfolded(linear(weights, "share", x), weights.network.shared, 4);
}

/** Refine levels 2 and 1 and the quarter below them, in place. */
export function refineFine(levels, quarter, features) {
  const { weights, symbols } = levels;
  const { rows, columns } = quarter[0];
  const inputs = new Field(rows, columns, CHANNELS + features.channels);
  writeInputs(levels, inputs, quarter, 2);
  for (let position = 0; position < rows * columns; position++) {
    const from = position * features.channels;
    const shared = features.data.subarray(from, from + features.channels);
    inputs.data.set(shared, position * inputs.channels + CHANNELS);
  }
  const y = trunk(weights, "fine", inputs, symbols.layers - 1);
  applyChange(levels, linear(weights, "fine_out", y), quarter, 2);
}

/** Step of the low band in pixels, by component: the unit of changes of low parts. */
function units({ weights, dequantiser }) {
  return COMPONENTS.map((component) => weights.steps[component] * dequantiser.width);
}

/** Visit the 45 channels of two levels: band, its place within a position, and channel. */
function* channelsOf(level) {
  for (const orientation of ORIENTATIONS) {
    for (const component of COMPONENTS) {
      const channel = 3 * orientation + component;
      yield [bandNumber(level, component, orientation), 1, 0, 0, LOW_CHANNELS + channel];
      const finer = bandNumber(level - 1, component, orientation);
      for (let place = 0; place < FOLDED; place++) {
        const to = LOW_CHANNELS + LEVEL_CHANNELS + FOLDED * channel + place;
        yield [finer, 2, place >> 1, place & 1, to];
      }
    }
  }
}

/** Write the first 48 channels: the low part, `level` and the next finer level, folded. */
function writeInputs(levels, inputs, low, level) {
  const { rows, columns, channels, data } = inputs;
  units(levels).forEach((unit, component) => {
    for (let position = 0; position < rows * columns; position++) {
      data[position * channels + component] = Math.asinh(low[component].data[position] / unit);
    }
  });
  for (const [band, scale, i, j, channel] of channelsOf(level)) {
    const points = levels.points(band);
    for (let y = 0; y < rows; y++) {
      for (let x = 0; x < columns; x++) {
        const point = points[(scale * y + i) * scale * columns + scale * x + j];
        if (point === 0) continue;
        data[(y * columns + x) * channels + channel] = Math.asinh(point / levels.dequantiser.width);
      }
    }
  }
}

/** Add changes [rows, columns, 48] to the low part and the points of two levels; clip points. */
function applyChange(levels, change, low, level) {
  const { rows, columns, channels, data } = change;
  const { width } = levels.dequantiser;
  units(levels).forEach((unit, component) => {
    for (let position = 0; position < rows * columns; position++) {
      low[component].data[position] += unit * data[position * channels + component];
    }
  });
  const bands = new Set();
  for (const [band, scale, i, j, channel] of channelsOf(level)) {
    const points = levels.points(band);
    bands.add(band);
    for (let y = 0; y < rows; y++) {
      for (let x = 0; x < columns; x++) {
        const at = (scale * y + i) * scale * columns + scale * x + j;
        points[at] += width * data[(y * columns + x) * channels + channel];
      }
    }
  }
  for (const band of bands) levels.dequantiser.clip(band, levels.points(band));
}

/** Apply the input map, the state of the layer and the blocks of one trunk. */
function trunk(weights, name, inputs, layer) {
  const x = linear(weights, `${name}_in`, inputs);
  const state = weights.tensor(`network.${name}_state.weight`);
  const width = x.channels;
  for (let at = 0; at < x.data.length; at++) x.data[at] += state[layer * width + (at % width)];
  for (let block = 0; block < weights.network[`${name}_depth`]; block++) {
    const around = spatial(weights, `${name}.${block}.spatial`, x);
    const hidden = linear(weights, `${name}.${block}.widen`, around);
    for (let at = 0; at < hidden.data.length; at++) if (hidden.data[at] < 0) hidden.data[at] = 0;
    const added = linear(weights, `${name}.${block}.narrow`, hidden, false);
    for (let at = 0; at < x.data.length; at++) x.data[at] += added.data[at];
  }
  return x;
}

/** Apply a linear map with a bias, unless it has none, to the channels of each position. */
function linear(weights, name, inputs, biased = true) {
  const matrix = weights.tensor(`network.${name}.weight`);
  const bias = biased
    ? weights.tensor(`network.${name}.bias`)
    : new Float32Array(matrix.length / inputs.channels);
  const outputs = new Field(inputs.rows, inputs.columns, bias.length);
  const { channels, data } = inputs;
  const positions = inputs.rows * inputs.columns;
  const step = bias.length % 4 ? 1 : 4;
  for (let position = 0; position < positions; position++) {
    const from = position * channels;
    const to = position * bias.length;
    for (let out = 0; out < bias.length; out += step) {
      if (step === 4) {
        fourSums(matrix, out * channels, data, from, channels, bias, out, outputs.data, to + out);
      } else {
        let sum = bias[out];
        for (let channel = 0; channel < channels; channel++) {
          sum += matrix[out * channels + channel] * data[from + channel];
        }
        outputs.data[to + out] = sum;
      }
    }
  }
  return outputs;
}

/** Compute four channels together: four sums that do not wait for each other. */
function fourSums(matrix, row, data, from, channels, bias, out, results, to) {
  let [a, b, c, d] = [bias[out], bias[out + 1], bias[out + 2], bias[out + 3]];
  for (let channel = 0, at = row; channel < channels; channel++, at++) {
    const value = data[from + channel];
    a += matrix[at] * value;
    b += matrix[at + channels] * value;
    c += matrix[at + 2 * channels] * value;
    d += matrix[at + 3 * channels] * value;
  }
  results[to] = a;
  results[to + 1] = b;
  results[to + 2] = c;
  results[to + 3] = d;
}

/** Filter each channel with its own 5 x 5 kernel, with zeros beyond the edge. */
function spatial(weights, name, inputs) {
  const kernels = weights.tensor(`network.${name}.weight`);
  const bias = weights.tensor(`network.${name}.bias`);
  const { rows, columns, channels, data } = inputs;
  // by tap, so that the inner loop runs over channels
  const taps = new Float32Array(kernels.length);
  for (let channel = 0; channel < channels; channel++) {
    for (let tap = 0; tap < KERNEL * KERNEL; tap++) {
      taps[tap * channels + channel] = kernels[channel * KERNEL * KERNEL + tap];
    }
  }
  const outputs = new Field(rows, columns, channels);
  const reach = KERNEL >> 1;
  for (let y = 0; y < rows; y++) {
    for (let x = 0; x < columns; x++) {
      const to = (y * columns + x) * channels;
      outputs.data.set(bias, to);
      for (let v = Math.max(y - reach, 0); v <= Math.min(y + reach, rows - 1); v++) {
        for (let u = Math.max(x - reach, 0); u <= Math.min(x + reach, columns - 1); u++) {
          const from = (v * columns + u) * channels;
          const tap = ((v - y + reach) * KERNEL + u - x + reach) * channels;
          for (let channel = 0; channel < channels; channel++) {
            outputs.data[to + channel] += taps[tap + channel] * data[from + channel];
          }
        }
      }
    }
  }
  return outputs;
}

/** Unfold channels `scale` squared times: channel scale^2 c + scale i + j goes to row i, column j. */
function unfolded(field, channels, scale) {
  const result = new Field(field.rows * scale, field.columns * scale, channels);
  for (let y = 0; y < result.rows; y++) {
    for (let x = 0; x < result.columns; x++) {
      const position = Math.floor(y / scale) * field.columns + Math.floor(x / scale);
      const place = scale * (y % scale) + (x % scale);
      const to = (y * result.columns + x) * channels;
      for (let channel = 0; channel < channels; channel++) {
        const from = scale * scale * channel + place;
        result.data[to + channel] = field.data[position * field.channels + from];
      }
    }
  }
  return result;
}
