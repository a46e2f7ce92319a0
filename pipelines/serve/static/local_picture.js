// One picture, decoded in this browser from layers as they are stored.

import { StoredLayers } from "./stored_layers.js";
import { countText, visible } from "./text.js";

/** Pixels up to which a picture is drawn again with the backward network: about a second. */
const MOST_REFINED = 200_000;

export class LocalPicture {
  /**
   * @param {{archive: string, weights: string, sizes: number[]}} source addresses of the archive,
   *   with a slash at its end, and of the weights file; the archive's sizes, 0 for the full one
   * @param {{canvas: HTMLCanvasElement, status: HTMLElement, drawn: () => void}} shown `drawn` is
   *   called whenever a picture is on the canvas
   */
  constructor(source, { canvas, status, drawn }) {
    this.source = source;
    Object.assign(this, { canvas, status, drawn });
    this.pending = new Map();
    this.count = 0;
  }

  /**
   * Fetch what is missing of a state, decode and draw it, unless another call or `stop` comes first.
   *
   * @param {{key: string, width: number, height: number, file: string, parts: Array}} picture
   * @param {number} layers
   * @param {number} place number of the size
   * @returns {Promise<object | undefined>} the picture that is drawn: `damage` says why layers are
   *   missing; undefined if another call or `stop` came first
   * @throws {Error} if nothing can be drawn
   */
  async show(picture, layers, place) {
    const turn = (this.turn = Symbol(`${layers}, ${place}`));
    const isCurrent = () => turn === this.turn;
    try {
      return await this.showState(picture, layers, place, isCurrent);
    } catch (error) {
      if (isCurrent()) throw error;
      return undefined;
    }
  }

  async showState(picture, layers, place, isCurrent) {
    if (this.picture !== picture) this.stored = new StoredLayers(this.source.archive, picture);
    this.picture = picture;
    this.status.textContent = "fetching…";
    const stream = await this.stored.stream(layers, place);
    if (!isCurrent()) return undefined;
    this.status.textContent = "decoding…";
    const shrinkLevel = shrinkLevelOf(picture, this.source.sizes[place]);
    const pixels = (picture.width * picture.height) / 4 ** shrinkLevel;
    const isRefined = pixels <= MOST_REFINED && shrinkLevel <= 2;
    let drawn;
    for (const refine of isRefined ? [false, true] : [false]) {
      drawn = await this.ask({ stream, options: { shrinkLevel, layers, refine } });
      if (!isCurrent()) return undefined;
      this.draw(drawn, refine ? "with the backward network" : "plainly");
      if (isRefined && !refine) this.status.textContent += "; refining…";
    }
    return drawn;
  }

  /** Draw nothing of what is being fetched or decoded. */
  stop() {
    this.turn = undefined;
    this.status.textContent = "";
  }

  draw({ width, height, data, layers, damage, ms }, how) {
    const { canvas } = this;
    canvas.width = width;
    canvas.height = height;
    canvas.getContext("2d").putImageData(new ImageData(data, width, height), 0, 0);
    canvas.setAttribute("aria-label", visible(this.picture.key));
    canvas.dataset.layers = layers;
    const cut = damage ? `; only ${layers} layers are intact: ${damage}` : "";
    this.status.textContent =
      `${width} × ${height}, decoded ${how} in ${countText(Math.round(ms))} ms${cut}`;
    this.drawn();
  }

  /** Return the answer of the thread that decodes, which is started with the first question. */
  async ask(message) {
    this.ready ??= this.start().catch((error) => {
      this.ready = undefined; // so that another try starts it again
      throw error;
    });
    await this.ready;
    return this.send(message);
  }

  async start() {
    this.worker?.terminate();
    this.worker = new Worker("decoder/worker.js", { type: "module" });
    this.worker.addEventListener("error", () => {
      for (const { reject } of this.pending.values()) reject(new Error("the decoder does not start"));
      this.pending.clear();
    });
    this.worker.addEventListener("message", ({ data }) => {
      const { resolve, reject } = this.pending.get(data.id);
      this.pending.delete(data.id);
      if (data.error) reject(new Error(data.error));
      else resolve(data);
    });
    const answer = await fetch(this.source.weights).catch(() => undefined);
    if (!answer?.ok) throw new Error("the weights of the decoder cannot be fetched");
    await this.send({ weights: await answer.arrayBuffer() });
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
