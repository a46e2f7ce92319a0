/**
 * A reader of Underpaint streams, written from docs/stream.md alone.
 *
 *     const weights = await Weights.read(await (await fetch(url)).arrayBuffer());
 *     const { width, height, data } = decode(stream, weights, { shrinkLevel: 1 });
 *     canvas.getContext("2d").putImageData(new ImageData(data, width, height), 0, 0);
 */

import { reconstruct } from "./picture.js";
import { decodeSymbols } from "./symbols.js";

export { LayerDamaged, NotReadable, WeightsDamaged } from "./errors.js";
export { decodeSymbols, digestInput } from "./symbols.js";
export { reconstruct } from "./picture.js";
export { Weights } from "./weights.js";

/**
 * Decode a stream, or any beginning of one that holds the first layer, to a picture.
 *
 * @param {Uint8Array} stream parts, joined
 * @param {import("./weights.js").Weights} weights
 * @param {{shrinkLevel?: number, layers?: number, refine?: boolean}} options
 * @returns {{width: number, height: number, data: Uint8ClampedArray, layers: number,
 *   damage: Error | null}} RGBA; how many layers it shows; why others are missing
 */
export function decode(stream, weights, { shrinkLevel = 0, layers, refine = false } = {}) {
  const symbols = decodeSymbols(stream, weights, shrinkLevel, layers);
  const picture = reconstruct(symbols, weights, { shrinkLevel, refine });
  return { ...picture, layers: symbols.layers, damage: symbols.damage };
}
