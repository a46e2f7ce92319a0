/** Frames of parts: what a stream says about itself before any payload is decoded. */

import { ceilDivide } from "./geometry.js";
import { LayerDamaged, NotReadable } from "./errors.js";

const MAGIC = 0xb7;
const VERSION = 6;
const MAX_PIXELS = 2 ** 28;
const MAX_LAYER_BYTES = 2 ** 30;
const FULL_SIZE = 3;

const CRC = new Uint32Array(256).map((_, index) => {
  let value = index;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

function crc32(...pieces) {
  let value = 0xffffffff;
  for (const bytes of pieces) {
    for (const byte of bytes) value = CRC[(value ^ byte) & 255] ^ (value >>> 8);
  }
  return (value ^ 0xffffffff) >>> 0;
}

const bytesOf = (value) => Uint8Array.of(value, value >>> 8, value >>> 16, value >>> 24);

/**
 * What the first part says of the picture.
 * @typedef {{height: number, width: number, weightsId: string, cuts: number[]}} Header
 */

/** Return the sides of the picture at a shrink level. */
export function shrunkSides(header, shrinkLevel) {
  return {
    height: ceilDivide(header.height, 2 ** shrinkLevel),
    width: ceilDivide(header.width, 2 ** shrinkLevel),
  };
}

/**
 * Read the frames of a stream, or of any beginning of one.
 *
 * @param {Uint8Array} stream parts, joined; a container may leave out parts of larger sizes
 * @param {number} shrinkLevel of the picture that is wanted, 0 to 4
 * @returns {{header: Header, layers: Array<Array<object>>}} the checked parts of each layer that is
 *   complete for the size, with the levels that each holds
 * @throws {LayerDamaged} if not even the first layer is complete
 */
export function readFrames(stream, shrinkLevel) {
  const layers = [];
  const checks = []; // of each layer: check by size
  let header = null;
  let at = 0;
  let previous = null;
  let damage = null;
  try {
    while (at < stream.length) {
      const part = readFrame(stream, at, previous, header);
      header ??= part.header;
      if (part.size === 0) {
        if (layers.length && !complete(layers.at(-1), shrinkLevel)) {
          throw new LayerDamaged(layers.length - 1, "S9", "a part is missing");
        }
        layers.push([]);
        checks.push(new Map());
      }
      part.finest = part.last || part.size === FULL_SIZE ? 1 : header.cuts[part.size] + 1;
      const layer = layers.at(-1);
      if (!complete(layer, shrinkLevel)) {
        verify(part, checks);
        part.coarser = layer.length ? layer.at(-1).finest : null;
        layer.push(part);
      }
      checks.at(-1).set(part.size, part.check);
      previous = part;
      at = part.end;
    }
  } catch (error) {
    if (!(error instanceof LayerDamaged)) throw error;
    damage = error;
  }
  if (layers.length && !complete(layers.at(-1), shrinkLevel)) layers.pop();
  if (!layers.length) throw damage ?? new LayerDamaged(0, "S9", "the first layer is not complete");
  return { header, layers, damage };
}

const complete = (parts, shrinkLevel) => parts.length > 0 && parts.at(-1).finest <= shrinkLevel + 1;

function readFrame(stream, start, previous, header) {
  const first = previous === null;
  const next = first ? 0 : previous.layer;
  let at = start;
  if (first) {
    if (stream[0] !== MAGIC) throw new LayerDamaged(0, "S2", "no Underpaint stream");
    if (stream.length < 2) throw new LayerDamaged(0, "S1", "the part is cut");
    if (stream[1] !== VERSION) throw new NotReadable(`version ${stream[1]} of the stream`);
    at = 2;
  }
  const place = stream[at++];
  const layer = place & 15;
  const size = (place >> 4) & 3;
  const last = (place & 64) !== 0;
  const follows = first
    ? layer === 0 && size === 0
    : (layer === previous.layer && size > previous.size && !previous.last) ||
      (layer === previous.layer + 1 && size === 0);
  if (at > stream.length) throw new LayerDamaged(next, "S1", "the part is cut");
  if (!follows || place & 128) throw new LayerDamaged(next, "S5", "parts are out of order");
  let words = 0;
  let count = 0;
  for (let more = true; more; count++) {
    if (count === 5) throw new LayerDamaged(layer, "S6", "the length does not end");
    if (at >= stream.length) throw new LayerDamaged(layer, "S1", "the part is cut");
    const byte = stream[at++];
    words += (byte & 127) * 2 ** (7 * count);
    more = byte >= 128;
    if (!more && count > 0 && byte === 0) throw new LayerDamaged(layer, "S6", "an overlong length");
  }
  if (words < 2) throw new LayerDamaged(layer, "S8", "a payload of less than two words");
  const head = stream.subarray(start, at);
  const body = at + 4;
  const payload = body + (first ? 13 : 0);
  const end = payload + 4 * words;
  if (end > stream.length) throw new LayerDamaged(layer, "S1", "the part is cut");
  if (end - start > MAX_LAYER_BYTES) throw new LayerDamaged(layer, "S1", "the part is too long");
  const check = new DataView(stream.buffer, stream.byteOffset + at, 4).getUint32(0, true);
  const part = {
    layer, size, last, head, check, end,
    body: stream.subarray(body, end),
    payload: stream.subarray(payload, end),
    header: first ? readHeader(stream.subarray(body, payload)) : null,
  };
  const { cuts } = header ?? part.header;
  if (size > 0 && (cuts[size] ?? 0) >= cuts[size - 1]) {
    throw new LayerDamaged(layer, "S5", "a part without a level");
  }
  if (size < FULL_SIZE && cuts[size] === 0 && !last) {
    throw new LayerDamaged(layer, "S5", "a part of the full size is not the last");
  }
  return part;
}

/** Read weights id, sides and cuts, 13 bytes. */
function readHeader(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const height = view.getUint16(8, true) + 1;
  const width = view.getUint16(10, true) + 1;
  if (height * width > MAX_PIXELS) throw new LayerDamaged(0, "S7", "more pixels than the limit");
  const packed = bytes[12];
  const cuts = [packed % 5, Math.floor(packed / 5) % 5, Math.floor(packed / 25)];
  if (packed >= 125 || cuts[0] < cuts[1] || cuts[1] < cuts[2]) {
    throw new LayerDamaged(0, "S14", "the cuts grow");
  }
  const hex = (byte) => byte.toString(16).padStart(2, "0");
  return { height, width, weightsId: Array.from(bytes.subarray(0, 8), hex).join(""), cuts };
}

/** Check a part against the two parts that it builds on: rule S4. */
function verify(part, checks) {
  const same = checks.at(-1);
  const before = checks.length > 1 ? checks.at(-2) : new Map();
  const sizes = [...before.keys()].filter((size) => size <= part.size);
  const below = sizes.length ? before.get(Math.max(...sizes)) : 0;
  const smaller = same.size ? [...same.values()].at(-1) : 0;
  if (crc32(bytesOf(below), bytesOf(smaller), part.head, part.body) !== part.check) {
    throw new LayerDamaged(part.layer, "S4", "the check does not match");
  }
}
