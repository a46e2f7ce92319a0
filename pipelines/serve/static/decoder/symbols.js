/** From the parts of a stream to symbols: class maps and cells, exact integers. */

import { decodePaletteStep } from "./palettes.js";
import { CellCoder, CellState } from "./cells.js";
import { LayerDamaged, NotReadable } from "./errors.js";
import { readFrames } from "./frames.js";
import { BANDS, Geometry, bandsEnd } from "./geometry.js";
import { RansDecoder } from "./rans.js";
import { CELL_TABLES, PALETTE_TABLES } from "./weights.js";

const ANGLE_BITS = 8;

/**
 * The symbols of the first layers of a picture.
 * @typedef {object} Symbols
 * @property {object} header
 * @property {Geometry} geometry
 * @property {number} layers number of layers that are decoded
 * @property {number} cellSteps number of steps of the scalar chain that they hold
 * @property {number[]} angles of the colour rotation, in units of pi / 256
 * @property {Int32Array[]} classMaps of each palette state, [rows, columns] of positions
 * @property {CellState} state its cells
 * @property {Error | null} damage why finer layers are missing, if they are damaged
 */

/**
 * Decode a stream, or any beginning of one that holds the first layer.
 *
 * @param {Uint8Array} stream
 * @param {import("./weights.js").Weights} weights
 * @param {number} shrinkLevel 0: the full picture, 1 to 4: halves of its sides
 * @param {number} most most layers to decode
 * @returns {Symbols}
 * @throws {LayerDamaged} if the first layer is damaged
 * @throws {NotReadable} for other weights or an unknown version
 */
export function decodeSymbols(stream, weights, shrinkLevel = 0, most = Infinity) {
  const { header, layers, damage } = readFrames(stream, shrinkLevel);
  if (header.weightsId !== weights.id) {
    throw new NotReadable(`weights ${header.weightsId} are needed, not ${weights.id}`);
  }
  const known = layers.slice(0, most);
  if (known.length > weights.plan.length) {
    return decodeLayers(header, known.slice(0, weights.plan.length), weights, shrinkLevel, {
      damage: new LayerDamaged(weights.plan.length, "S11", "a layer beyond the plan"),
    });
  }
  try {
    return decodeLayers(header, known, weights, shrinkLevel, { damage });
  } catch (error) {
    if (!(error instanceof LayerDamaged) || error.layer === 0) throw error;
    // a layer may be damaged behind its check: decode the ones before it again
    return decodeLayers(header, known.slice(0, error.layer), weights, shrinkLevel, {
      damage: error,
    });
  }
}

function decodeLayers(header, layers, weights, shrinkLevel, { damage }) {
  const geometry = new Geometry(header.height, header.width);
  const state = new CellState(geometry);
  let angles = [0, 0, 0];
  const classMaps = [];
  let palette = { labels: new Int32Array(geometry.rows * geometry.columns), entries: 1 };
  let cellSteps = 0;
  layers.forEach((parts, index) => {
    const plan = weights.plan[index];
    for (const part of parts) {
      const coder = new RansDecoder(part.payload, weights.starts);
      if (part.size === 0) {
        if (index === 0) angles = decodeAngles(coder);
        for (let step = 0; step < plan.paletteSteps; step++) {
          const tables = 1 + PALETTE_TABLES * classMaps.length;
          palette = decodePaletteStep(coder, tables, weights.classes, palette, geometry, index);
          classMaps.push(palette.classMap);
        }
      }
      const wanted = Math.max(part.finest, shrinkLevel + 1);
      const first = part.coarser === null ? 0 : bandsEnd(part.coarser);
      for (let step = cellSteps; step < cellSteps + plan.cellSteps; step++) {
        const tables = 1 + PALETTE_TABLES * weights.paletteSteps + CELL_TABLES * step;
        const cells = new CellCoder(coder, weights, state, step, tables, classMaps.at(-1));
        if (!cells.decode(first, bandsEnd(wanted))) {
          throw new LayerDamaged(index, "S18", "a band that has coefficients is called empty");
        }
      }
      if (wanted === part.finest && !coder.finished) {
        throw new LayerDamaged(index, "S13", "the payload does not end where its symbols do");
      }
    }
    cellSteps += plan.cellSteps;
  });
  return { header, geometry, layers: layers.length, cellSteps, angles, classMaps, state, damage };
}

function decodeAngles(coder) {
  if (!coder.plain(1)) return [0, 0, 0];
  const angles = [0, 0, 0].map(() => coder.plain(ANGLE_BITS) - (1 << (ANGLE_BITS - 1)));
  if (!angles.some(Boolean)) throw new LayerDamaged(0, "S20", "a rotation by nothing");
  return angles;
}

/**
 * Return what the digest of conformance vectors covers: int16, little endian.
 * @param {Symbols} symbols of the full size
 * @returns {Uint8Array}
 */
export function digestInput({ angles, classMaps, state, geometry }) {
  const values = [...angles];
  for (const map of classMaps) for (const value of map) values.push(value);
  for (let band = 0; band < BANDS; band++) {
    const { rows, columns } = geometry.bands[band];
    const plane = state.planes[band];
    for (let y = 0; y < rows; y++) {
      for (let x = 0; x < columns; x++) values.push(state.cell[plane.at(y, x)]);
    }
  }
  return new Uint8Array(Int16Array.from(values).buffer);
}
