/** Palette steps: the entries of a state of the palette chain and the label of each position. */

import { LayerDamaged } from "./errors.js";

const ENTRY_BITS = 8;
const SECOND_GUESS = 12;
const MOST_GUESSES = 3;

const bitsFor = (count) => (count > 1 ? 32 - Math.clz32(count - 1) : 0);

/**
 * Decode one palette step.
 *
 * @param {import("./rans.js").RansDecoder} coder
 * @param {number} tables first table of the step
 * @param {number} classCount classes of the codebook
 * @param {{labels: Int32Array, entries: number}} before the previous state
 * @param {import("./geometry.js").Geometry} geometry
 * @param {number} layer for errors
 * @returns {{labels: Int32Array, entries: number, classMap: Int32Array}}
 */
export function decodePaletteStep(coder, tables, classCount, before, geometry, layer) {
  const { classes, children } = decodeEntries(coder, classCount, before.entries, layer);
  const { rows, columns } = geometry;
  const labels = new Int32Array(rows * columns);
  for (let y = 0; y < rows; y++) {
    for (let x = 0; x < columns; x++) {
      const at = y * columns + x;
      const parent = before.labels[at];
      const first = children[parent];
      const end = children[parent + 1];
      if (end === first + 1) {
        labels[at] = first;
        continue;
      }
      const { guesses, votes } = guessesOf(labels, at, x, y, columns, first, end);
      labels[at] = decodeLabel(coder, tables, guesses, votes, first, end);
      if (labels[at] >= end) throw new LayerDamaged(layer, "S17", "a label beyond the last child");
    }
  }
  const classMap = labels.map((label) => classes[label]);
  return { labels, entries: classes.length, classMap };
}

/** Return the class of each entry, and where the children of each parent begin. */
function decodeEntries(coder, classCount, parentCount, layer) {
  const count = coder.plain(ENTRY_BITS) + 1;
  const classBits = bitsFor(classCount);
  const classes = [];
  const children = [0];
  for (let entry = 0; entry < count; entry++) {
    classes.push(coder.plain(classBits));
    if (entry && parentCount > 1 && coder.plain(1)) children.push(entry);
  }
  if (classes.some((each) => each >= classCount)) {
    throw new LayerDamaged(layer, "S15", "a class beyond the codebook");
  }
  if (children.length !== parentCount) {
    throw new LayerDamaged(layer, "S16", `${children.length} of ${parentCount} entries split`);
  }
  children.push(count);
  return { classes, children };
}

/** Return the distinct labels of neighbours that are children, in order, and their votes. */
function guessesOf(labels, at, x, y, columns, first, end) {
  const guesses = [];
  const votes = [];
  const look = (label) => {
    if (label < first || label >= end) return;
    const known = guesses.indexOf(label);
    if (known >= 0) {
      votes[known]++;
    } else {
      guesses.push(label);
      votes.push(1);
    }
  };
  if (x > 0) look(labels[at - 1]);
  if (y > 0) {
    look(labels[at - columns]);
    if (x > 0) look(labels[at - columns - 1]);
    if (x + 1 < columns) look(labels[at - columns + 1]);
  }
  return { guesses, votes };
}

function decodeLabel(coder, tables, guesses, votes, first, end) {
  const most = Math.min(guesses.length, MOST_GUESSES);
  if (most && coder.symbol(tables + 3 * (votes[0] - 1) + most - 1, 2)) return guesses[0];
  if (most > 1 && coder.symbol(tables + SECOND_GUESS + 2 * (votes[1] - 1) + most - 2, 2)) {
    return guesses[1];
  }
  return first + coder.plain(bitsFor(end - first));
}
