// The grid: virtual scrolling over any number of rows. Only tiles near the screen exist. A tile
// appears at layer 1; when scrolling has stopped, those on the screen are sharpened.

import {
  SHARP_LAYERS, ask, byId, complain, element, showTraffic, thumbnailAddress, visible,
} from "./text.js";

const BLOCK = 60; // rows of one request
const MOST_HEIGHT = 8e6; // pixels: browsers clamp longer elements
const QUIET_MS = 350;
const GAP = 6;

export class Grid {
  constructor(archive, open) {
    this.archive = archive;
    this.open = open;
    this.box = byId("grid");
    this.canvas = byId("canvas");
    this.current = 0;
    this.box.addEventListener("scroll", () => this.draw(), { passive: true });
    new ResizeObserver(() => this.layOut()).observe(this.box);
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    this.canvas.addEventListener("click", (event) => this.click(event));
  }

  /**
   * Show rows that `load(start, stop, signal)` returns as {rows, count}.
   * @returns {Promise<boolean>} false if they cannot be read, or others were asked for meanwhile
   */
  async show(load, emptyText = "No picture matches.") {
    this.stop?.abort();
    this.stop = new AbortController();
    this.load = load;
    this.blocks = new Map();
    this.tiles = new Map();
    this.canvas.replaceChildren();
    this.count = 0;
    this.current = 0;
    const { stop } = this;
    const first = await this.block(0);
    if (!first || stop !== this.stop) return false;
    this.count = first.count;
    byId("empty").hidden = this.count > 0;
    byId("empty").textContent = emptyText;
    this.box.scrollTop = 0;
    this.layOut();
    return true;
  }

  block(index) {
    if (!this.blocks.has(index)) {
      const start = index * BLOCK;
      const found = this.load(start, start + BLOCK, this.stop.signal).catch((error) => {
        this.blocks.delete(index);
        complain(error);
      });
      this.blocks.set(index, found);
      if (this.blocks.size > 60) this.blocks.delete(this.blocks.keys().next().value);
    }
    return this.blocks.get(index);
  }

  layOut() {
    const width = this.box.clientWidth;
    if (!width || this.count === undefined) return;
    const wanted = width < 500 ? 108 : 148;
    this.columns = Math.max(1, Math.floor((width - GAP) / (wanted + GAP)));
    this.side = (width - GAP) / this.columns - GAP;
    this.lines = Math.ceil(this.count / this.columns);
    this.full = this.lines * (this.side + GAP) + GAP;
    this.canvas.style.height = `${Math.min(this.full, MOST_HEIGHT)}px`;
    for (const tile of this.tiles.values()) this.place(tile);
    this.draw();
  }

  /** Return the offset of the screen in the full grid, which may be higher than the element. */
  top() {
    const height = Math.min(this.full, MOST_HEIGHT) - this.box.clientHeight;
    const full = this.full - this.box.clientHeight;
    return height > 0 ? (this.box.scrollTop * full) / height : 0;
  }

  scrollToLine(line) {
    const height = Math.min(this.full, MOST_HEIGHT) - this.box.clientHeight;
    const full = this.full - this.box.clientHeight;
    const [from, to] = [line * (this.side + GAP), (line + 1) * (this.side + GAP) + GAP];
    let top = this.top();
    if (from < top) top = from;
    else if (to > top + this.box.clientHeight) top = to - this.box.clientHeight;
    else return;
    this.box.scrollTop = full > 0 ? (top * height) / full : 0;
    this.draw();
  }

  place(tile) {
    const [line, column] = [Math.floor(tile.at / this.columns), tile.at % this.columns];
    const top = line * (this.side + GAP) + GAP - this.top() + this.box.scrollTop;
    Object.assign(tile.node.style, {
      width: `${this.side}px`,
      height: `${this.side}px`,
      left: `${column * (this.side + GAP) + GAP}px`,
      top: `${top}px`,
    });
  }

  draw() {
    if (!this.columns) return;
    const step = this.side + GAP;
    const line = Math.floor(this.top() / step);
    const lines = Math.ceil(this.box.clientHeight / step) + 1;
    const first = Math.max(0, line - 1) * this.columns;
    const last = Math.min(this.count, (line + lines + 1) * this.columns);
    for (const [at, tile] of this.tiles) {
      if ((at < first || at >= last) && !tile.node.contains(document.activeElement)) {
        tile.node.querySelector("img").removeAttribute("src"); // ends its request
        tile.node.remove();
        this.tiles.delete(at);
      }
    }
    this.screen = [line * this.columns, Math.min(this.count, (line + lines) * this.columns)];
    for (let at = first; at < last; at++) this.tile(at);
    if (this.full > MOST_HEIGHT) for (const tile of this.tiles.values()) this.place(tile);
    clearTimeout(this.quiet);
    this.quiet = setTimeout(() => this.sharpen(), QUIET_MS);
  }

  tile(at) {
    if (this.tiles.has(at)) return this.tiles.get(at);
    const image = element("img", { alt: "", draggable: false, decoding: "async" });
    const node = element("button", {
      type: "button", className: "tile", tabIndex: at === this.current ? 0 : -1,
    }, image, element("span"));
    node.setAttribute("aria-label", `Picture ${at + 1}`);
    const tile = { at, node, image, layers: 0 };
    this.tiles.set(at, tile);
    this.place(tile);
    // a list item for each button, which keeps both roles
    const item = element("div", { role: "listitem" }, node);
    item.setAttribute("aria-setsize", this.count);
    item.setAttribute("aria-posinset", at + 1);
    const next = [...this.tiles.values()].filter((other) => other.at > at && other.item);
    tile.item = item;
    const after = next.reduce((a, b) => (!a || b.at < a.at ? b : a), null);
    this.canvas.insertBefore(item, after ? after.item : null);
    node.remove = () => item.remove();
    this.fill(tile);
    return tile;
  }

  async fill(tile) {
    const found = await this.block(Math.floor(tile.at / BLOCK));
    const row = found?.rows[tile.at % BLOCK];
    if (!row || this.tiles.get(tile.at) !== tile) return;
    tile.row = row;
    const score = row.similarity === undefined ? "" : `${row.similarity.toFixed(3)} `;
    tile.node.classList.toggle("scored", Boolean(score));
    tile.node.querySelector("span").replaceChildren(element("bdi", {}, score + row.key));
    tile.node.setAttribute("aria-label", visible(score + row.key));
    if (row.damaged) {
      tile.row = undefined; // nothing to open
      tile.node.classList.add("broken");
      tile.node.setAttribute("aria-label", visible(`Picture ${row.n + 1}: ${row.damaged}`));
      tile.node.title = visible(row.damaged);
      return;
    }
    tile.image.onload = () => this.loaded(tile);
    tile.image.onerror = () => tile.node.classList.add("broken");
    tile.layers = 1;
    tile.image.src = thumbnailAddress(this.archive, row.n, 1);
  }

  async loaded(tile) {
    const marks = document.documentElement.dataset;
    tile.done = true;
    marks.firstPictureMs ??= performance.now().toFixed(0);
    const seen = [...this.tiles.values()];
    if (!marks.firstScreenBytes && seen.every((one) => one.done)) {
      marks.firstScreenPictures = seen.length;
      const { fetched } = await ask("traffic");
      marks.firstScreenBytes = fetched;
    }
  }

  sharpen() {
    const layers = Math.min(SHARP_LAYERS, this.archive.layers.length);
    const drawn = [...this.tiles.values()];
    if (drawn.some((tile) => !tile.done && !tile.node.classList.contains("broken"))) {
      this.quiet = setTimeout(() => this.sharpen(), QUIET_MS);
      return;
    }
    const waiting = drawn.filter((tile) => tile.at >= this.screen[0] && tile.at < this.screen[1]);
    let left = 0;
    for (const tile of waiting) {
      if (tile.layers >= layers || !tile.done) continue;
      tile.layers = layers;
      const sharp = new Image();
      sharp.onload = () => {
        if (this.tiles.get(tile.at) === tile) tile.image.src = sharp.src;
        if (--left === 0) ask("traffic").then(showTraffic).catch(complain);
      };
      left++;
      sharp.src = thumbnailAddress(this.archive, tile.row.n, layers);
    }
  }

  click(event) {
    const node = event.target.closest(".tile");
    const tile = [...this.tiles.values()].find((one) => one.node === node);
    if (tile?.row) {
      this.current = tile.at;
      this.open(tile.row, tile.at);
    }
  }

  key(event) {
    const page = this.columns * Math.max(1, Math.floor(this.box.clientHeight / this.side));
    const steps = {
      ArrowRight: 1, ArrowLeft: -1, ArrowDown: this.columns, ArrowUp: -this.columns,
      PageDown: page, PageUp: -page, Home: -this.count, End: this.count,
    };
    if (!(event.key in steps) || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    this.focus(this.current + steps[event.key]);
  }

  /** Move the focus to a tile, and scroll it on to the screen. */
  focus(at) {
    const bounded = Math.max(0, Math.min(this.count - 1, at));
    const before = this.tiles.get(this.current);
    if (before) before.node.tabIndex = -1;
    this.current = bounded;
    this.scrollToLine(Math.floor(bounded / this.columns));
    const tile = this.tile(bounded);
    tile.node.tabIndex = 0;
    tile.node.focus({ preventScroll: true });
    this.draw();
  }

  /** Return the row at a position, or undefined beyond the ends. */
  async rowAt(at) {
    if (at < 0 || at >= this.count) return undefined;
    return (await this.block(Math.floor(at / BLOCK)))?.rows[at % BLOCK];
  }
}
