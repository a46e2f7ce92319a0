// One picture, decoded in this browser: the server sends layers as they are stored, and no pixels.

import { byId, countText, visible } from "./text.js";

/** Pixels up to which a picture is drawn again with the backward network: about a second. */
const MOST_REFINED = 200_000;

export class LocalPicture {
  constructor(archive) {
    this.archive = archive;
    this.pending = new Map();
    this.count = 0;
    this.streams = new Map(); // of the row that is shown, by size: { layers, bytes }
  }

  /** Fetch what is missing of a state, decode and draw it. */
  async show(row, layers, size) {
    if (this.row !== row) this.streams.clear();
    this.row = row;
    const turn = (this.turn = Symbol(`${row.n}, ${layers}, ${size}`));
    const stream = await this.stream(row, layers, size);
    if (turn !== this.turn) return;
    const shrinkLevel = shrinkLevelOf(row, size);
    const pixels = (row.width * row.height) / 4 ** shrinkLevel;
    byId("here-text").textContent = "decoding…";
    for (const refine of pixels <= MOST_REFINED && shrinkLevel <= 2 ? [false, true] : [false]) {
      const picture = await this.ask({ stream, options: { shrinkLevel, layers, refine } });
      if (turn !== this.turn || !byId("here").checked) return;
      this.draw(picture, refine);
    }
  }

  draw({ width, height, data, layers, ms }, refined) {
    const canvas = byId("drawn");
    canvas.width = width;
    canvas.height = height;
    canvas.getContext("2d").putImageData(new ImageData(data, width, height), 0, 0);
    canvas.setAttribute("aria-label", visible(this.row.key));
    canvas.dataset.layers = layers;
    const how = refined ? "with the backward network" : "plainly";
    byId("here-text").textContent =
      `${width} × ${height}, decoded ${how} in ${countText(Math.round(ms))} ms`;
  }

  /** Return the stream of a size with at least so many layers; only what is missing is fetched. */
  async stream(row, layers, size) {
    const known = this.streams.get(size) ?? { layers: 0, bytes: new Uint8Array() };
    if (known.layers >= layers) return known.bytes;
    const query = { v: this.archive.version, layers, size, above: known.layers };
    const more = new Uint8Array(await fetched(`layers/${row.n}`, query));
    const bytes = new Uint8Array(known.bytes.length + more.length);
    bytes.set(known.bytes);
    bytes.set(more, known.bytes.length);
    if (this.row === row) this.streams.set(size, { layers, bytes });
    return bytes;
  }

  /** Return the answer of the thread that decodes, which is started with the first question. */
  async ask(message) {
    this.ready ??= this.start();
    await this.ready;
    return this.send(message);
  }

  async start() {
    this.worker = new Worker("decoder/worker.js", { type: "module" });
    this.worker.addEventListener("message", ({ data }) => {
      const { resolve, reject } = this.pending.get(data.id);
      this.pending.delete(data.id);
      if (data.error) reject(new Error(data.error));
      else resolve(data);
    });
    const weights = await fetched("weights", { v: this.archive.weights });
    await this.send({ weights });
  }

  send(message) {
    const id = this.count++;
    return new Promise((resolve, reject) => {
      this.pending.set(id, { resolve, reject });
      this.worker.postMessage({ id, ...message });
    });
  }
}

/** Return how often the sides are halved: the smallest picture whose short side reaches `size`. */
function shrinkLevelOf({ width, height }, size) {
  if (!size) return 0;
  let level = 0;
  while (level < 4 && Math.ceil(Math.min(width, height) / 2 ** (level + 1)) >= size) level++;
  return level;
}

async function fetched(path, query) {
  const answer = await fetch(`/api/${path}?${new URLSearchParams(query)}`);
  if (answer.ok) return answer.arrayBuffer();
  const { error } = await answer.json().catch(() => ({ error: `status ${answer.status}` }));
  throw new Error(error);
}
