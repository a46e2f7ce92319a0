/** The learned lifting step: details predicted from the low part that their level is joined to. */

const UNIT = 64;
const CONVOLUTIONS = 4;
const COMPONENTS = [0, 1, 2];
const ORIENTATIONS = [0, 1, 2];

/**
 * Predict the details of a level.
 *
 * @param {import("./weights.js").Weights} weights
 * @param {number} level
 * @param {number} cellSteps of the state, from 1
 * @param {Array} low planes of the three components, in pixel units
 * @returns {Float32Array[][] | null} by component, then orientation; null where nothing is predicted
 */
export function predictDetails(weights, level, cellSteps, low) {
  if (!weights.prediction || level > weights.prediction.widths.length) return null;
  const { rows, columns } = low[0];
  let fields = low.map((plane) => plane.data.map((value) => value / UNIT));
  for (let number = 0; number < CONVOLUTIONS; number++) {
    const name = `prediction.${level}.${number}`;
    const kernels = weights.tensor(`${name}.weight`);
    const outputs = kernels.length / (9 * fields.length);
    const biases = number
      ? weights.tensor(`${name}.bias`)
      : weights.tensor(`prediction.${level}.state`).subarray((cellSteps - 1) * outputs);
    fields = convolve(fields, rows, columns, kernels, biases, outputs);
    if (number === CONVOLUTIONS - 1) break;
    for (const field of fields) {
      for (let at = 0; at < field.length; at++) if (field[at] < 0) field[at] = 0;
    }
  }
  for (const field of fields) for (let at = 0; at < field.length; at++) field[at] *= UNIT;
  return COMPONENTS.map((component) =>
    ORIENTATIONS.map((orientation) => fields[3 * orientation + component]),
  );
}

/** Filter fields [rows, columns] with kernels of 3 x 3; samples at the edges repeat beyond them. */
function convolve(fields, rows, columns, kernels, biases, outputs) {
  const padded = fields.map((field) => withEdges(field, rows, columns));
  const results = [];
  for (let output = 0; output < outputs; output++) {
    const result = new Float32Array(rows * columns).fill(biases[output]);
    padded.forEach((field, input) => {
      const from = 9 * (output * fields.length + input);
      addFiltered(result, field, rows, columns, kernels.subarray(from, from + 9));
    });
    results.push(result);
  }
  return results;
}

function addFiltered(result, field, rows, columns, [a, b, c, d, e, f, g, h, i]) {
  const stride = columns + 2;
  for (let y = 0, at = 0; y < rows; y++) {
    for (let x = 0, up = y * stride; x < columns; x++, at++, up++) {
      const here = up + stride;
      const down = here + stride;
      result[at] +=
        a * field[up] + b * field[up + 1] + c * field[up + 2] +
        d * field[here] + e * field[here + 1] + f * field[here + 2] +
        g * field[down] + h * field[down + 1] + i * field[down + 2];
    }
  }
}

/** Return a field with one more sample beyond each edge. */
function withEdges(field, rows, columns) {
  const stride = columns + 2;
  const padded = new Float32Array((rows + 2) * stride);
  for (let y = 0; y < rows + 2; y++) {
    const from = Math.min(Math.max(y - 1, 0), rows - 1) * columns;
    const to = y * stride;
    padded.set(field.subarray(from, from + columns), to + 1);
    padded[to] = padded[to + 1];
    padded[to + columns + 1] = padded[to + columns];
  }
  return padded;
}
