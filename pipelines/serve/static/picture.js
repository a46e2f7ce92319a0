// One picture: two sliders, layers and size, with the bytes of each; palette, labels, downloads.

import { LocalPicture } from "./local_picture.js";
import { Sliders } from "./sliders.js";
import { ask, byId, complain, countText, element, pictureAddress, visible } from "./text.js";

/** Layers of a picture that is opened. */
const FIRST_LAYERS = 2;

/** Say whether a picture is being decoded. */
function busy(now) {
  byId("stage").setAttribute("aria-busy", now);
}

export class Picture {
  constructor(archive, grid, showSimilar) {
    this.archive = archive;
    this.grid = grid;
    this.box = byId("picture");
    this.sliders = new Sliders(archive, () => this.change());
    byId("close").addEventListener("click", () => this.box.close());
    byId("before").addEventListener("click", () => this.step(-1));
    byId("after").addEventListener("click", () => this.step(1));
    byId("similar").addEventListener("click", () => {
      this.box.close();
      showSimilar(this.row);
    });
    byId("similar").hidden = !archive.embeddings;
    const weights = `/api/weights?${new URLSearchParams({ v: archive.weights })}`;
    this.local = new LocalPicture(
      { archive: "/archive/", weights, sizes: archive.sizes },
      { canvas: byId("drawn"), status: byId("here-text"), drawn: () => busy(false) },
    );
    byId("here").addEventListener("change", () => {
      this.byServer = undefined;
      this.change();
    });
    byId("shown").addEventListener("error", () => complain(new Error("the picture cannot be shown")));
    for (const end of ["load", "error"]) byId("shown").addEventListener(end, () => busy(false));
    this.box.addEventListener("close", () => this.at !== undefined && this.grid.focus(this.at));
    this.box.addEventListener("keydown", (event) => {
      if (event.target.type === "range" || !["ArrowLeft", "ArrowRight"].includes(event.key)) return;
      this.step(event.key === "ArrowRight" ? 1 : -1);
    });
  }

  async step(by) {
    if (this.at === undefined) return;
    const row = await this.grid.rowAt(this.at + by);
    if (row) this.open(row, this.at + by).catch(complain);
  }

  /** Open a row; `at` is its position in the grid, if it is shown there. */
  async open(row, at) {
    this.row = row;
    this.at = at;
    if (!this.box.open) this.sliders.choose(FIRST_LAYERS, this.archive.sizes.length - 1);
    byId("picture-key").replaceChildren(element("bdi", {}, row.key));
    byId("shown").alt = visible(row.key);
    this.forget();
    for (const id of ["before", "after"]) byId(id).hidden = at === undefined;
    if (!this.box.open) this.box.showModal();
    this.facts = undefined;
    this.asked = ask(`row/${row.n}`);
    this.change();
    const facts = await this.asked;
    if (this.row !== row) return;
    this.facts = facts;
    this.describe();
    if (facts.parts) this.sliders.count(facts);
  }

  /** Show nothing of the picture before. */
  forget() {
    for (const id of ["shown", "map"]) byId(id).removeAttribute("src");
    byId("drawn").width = byId("drawn").height = 0;
    for (const id of ["facts", "palette"]) byId(id).replaceChildren();
    for (const id of ["bytes", "here-text"]) byId(id).textContent = "";
    byId("palette-text").textContent = "Loading…";
  }

  change() {
    const { layers, place, size } = this.sliders.state();
    const [version, n] = [this.archive.version, this.row.n];
    const picture = (more) => pictureAddress(version, n, { layers, size, ...more });
    byId("png").href = picture({ format: "png", download: 1 });
    byId("jpeg").href = picture({ format: "jpeg", download: 1 });
    byId("original").href = `/api/original/${n}`;
    byId("original").hidden = !this.archive.originals;
    if (this.facts?.parts) this.sliders.count(this.facts);
    clearTimeout(this.quiet);
    const here = byId("here").checked && this.byServer !== this.row;
    byId("drawn").hidden = !here;
    byId("shown").hidden = here;
    this.local.stop();
    if (this.byServer === this.row) byId("here-text").textContent = "decoded by the server";
    this.quiet = setTimeout(() => {
      busy(true);
      if (here) this.decodeHere(layers, place);
      else byId("shown").src = picture({ format: "webp" });
      byId("map").src = `/api/map/${n}?${new URLSearchParams({ v: version, layers, size })}`;
      this.palette(layers, size).catch(complain);
    }, 60);
  }

  /** Decode the picture here; if that fails, let the server do it, which reads whole pages. */
  async decodeHere(layers, place) {
    const row = this.row;
    try {
      const facts = await this.asked;
      if (this.row !== row || !byId("here").checked) return;
      if (!facts.parts) throw new Error("the positions of the layers cannot be read");
      const drawn = await this.local.show(facts, layers, place);
      if (drawn?.damage) throw new Error(drawn.damage);
    } catch (error) {
      if (this.row !== row) return;
      complain(new Error(`${error.message}; the server decodes this picture`));
      this.byServer = row;
      this.change();
    }
  }

  async palette(layers, size) {
    const row = this.row;
    const state = await ask(`state/${row.n}`, { layers, size });
    const now = this.sliders.state();
    if (this.row !== row || now.layers !== layers || now.size !== size) return;
    byId("palette-text").textContent =
      `Palette: ${countText(state.classes)} classes; picture ${state.width} × ${state.height}`;
    byId("palette").replaceChildren(
      ...state.palette.slice(0, 48).map((entry) => {
        const swatch = element("i");
        swatch.style.background = `rgb(${entry.colour.join(" ")})`;
        return element("li", {}, swatch, `${(100 * entry.share).toFixed(1)} %`);
      }),
    );
  }

  describe() {
    const facts = this.facts;
    const source = /^https?:\/\//.test(facts.source)
      ? element("a", { href: facts.source, rel: "noreferrer noopener", target: "_blank" }, facts.source)
      : facts.source || "unknown";
    const rows = [
      ["Size", `${countText(facts.width)} × ${countText(facts.height)}`],
      ["Source", source],
      ["Source file", `${facts.format || "unknown format"}, ${countText(facts.source_bytes)} bytes`],
      ...Object.entries(facts.labels),
      ...Object.entries(facts.metadata),
      ...facts.notes.map((note) => ["Note", note]),
    ];
    byId("facts").replaceChildren(
      ...rows.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]),
    );
  }
}
