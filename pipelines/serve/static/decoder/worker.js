/**
 * Decodes streams in a thread of its own.
 *
 * Takes { id, weights: ArrayBuffer } once, then { id, stream: Uint8Array, options }; answers each
 * with { id, ... } of the picture, or { id, error }.
 */

import { Weights, decode } from "./index.js";

let weights;

onmessage = async ({ data: { id, weights: file, stream, options } }) => {
  try {
    if (file) {
      weights = await Weights.read(file);
      postMessage({ id });
      return;
    }
    const begin = performance.now();
    const { damage, ...picture } = decode(stream, weights, options);
    const ms = performance.now() - begin;
    postMessage({ id, ...picture, damage: damage?.message, ms }, [picture.data.buffer]);
  } catch (error) {
    postMessage({ id, error: error.message });
  }
};
