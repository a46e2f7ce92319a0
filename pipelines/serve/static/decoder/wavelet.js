/** The inverse wavelet, CDF 9/7 by lifting, on planes { rows, columns, data: Float32Array }. */

const SCALE = 1.149604398860241;
const LIFTING = [-0.443506852043971, -0.882911075530934, 0.052980118572961, 1.586134342059924];

export function planeOf(rows, columns) {
  return { rows, columns, data: new Float32Array(rows * columns) };
}

/**
 * Join a level: a low part and three bands to one plane.
 *
 * @param low plane
 * @param {Array} bands planes of orientations 0 to 2
 */
export function joinLevel(low, [alongX, alongY, both]) {
  return joinRows(joinColumns(low, alongX), joinColumns(alongY, both));
}

/** Join low and high samples along x. */
function joinColumns(low, high) {
  const { rows } = low;
  const columns = low.columns + high.columns;
  const joined = planeOf(rows, columns);
  const a = new Float32Array(low.columns);
  const b = new Float32Array(high.columns);
  for (let y = 0; y < rows; y++) {
    a.set(low.data.subarray(y * low.columns, (y + 1) * low.columns));
    b.set(high.data.subarray(y * high.columns, (y + 1) * high.columns));
    lift(a, b);
    const row = y * columns;
    for (let x = 0; x < a.length; x++) joined.data[row + 2 * x] = a[x];
    for (let x = 0; x < b.length; x++) joined.data[row + 2 * x + 1] = b[x];
  }
  return joined;
}

/** Undo the lifting steps of one row in place. */
function lift(a, b) {
  const n = a.length;
  const m = b.length;
  if (m === 0) return;
  for (let i = 0; i < n; i++) a[i] /= SCALE;
  for (let i = 0; i < m; i++) b[i] *= SCALE;
  for (let pass = 0; pass < 2; pass++) {
    const toLow = LIFTING[2 * pass];
    const toHigh = LIFTING[2 * pass + 1];
    for (let i = 0; i < n; i++) a[i] += toLow * (b[Math.max(i - 1, 0)] + b[Math.min(i, m - 1)]);
    for (let i = 0; i < m; i++) b[i] += toHigh * (a[i] + a[Math.min(i + 1, n - 1)]);
  }
}

/** Join low and high samples along y, whole rows at a time. */
function joinRows(low, high) {
  const { columns } = low;
  const n = low.rows;
  const m = high.rows;
  const a = low.data;
  const b = high.data;
  if (m > 0) {
    for (let i = 0; i < a.length; i++) a[i] /= SCALE;
    for (let i = 0; i < b.length; i++) b[i] *= SCALE;
    for (let pass = 0; pass < 2; pass++) {
      for (let y = 0; y < n; y++) {
        addRows(a, y, b, Math.max(y - 1, 0), Math.min(y, m - 1), LIFTING[2 * pass], columns);
      }
      for (let y = 0; y < m; y++) {
        addRows(b, y, a, y, Math.min(y + 1, n - 1), LIFTING[2 * pass + 1], columns);
      }
    }
  }
  const joined = planeOf(n + m, columns);
  for (let y = 0; y < n; y++) {
    joined.data.set(a.subarray(y * columns, (y + 1) * columns), 2 * y * columns);
  }
  for (let y = 0; y < m; y++) {
    joined.data.set(b.subarray(y * columns, (y + 1) * columns), (2 * y + 1) * columns);
  }
  return joined;
}

/** Add `weight` times the sum of two rows of `from` to a row of `to`. */
function addRows(to, row, from, first, second, weight, columns) {
  const at = row * columns;
  const one = first * columns;
  const two = second * columns;
  for (let x = 0; x < columns; x++) to[at + x] += weight * (from[one + x] + from[two + x]);
}
