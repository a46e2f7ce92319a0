// Two sliders that choose a state of a picture: layers and size.

import { byId, countText, sizeText, visible } from "./text.js";

export class Sliders {
  /**
   * @param {{layers: string[], sizes: number[]}} archive names of its layers; its sizes, 0 for the
   *   full one
   * @param {() => void} changed called when another state is chosen
   */
  constructor({ layers, sizes }, changed) {
    Object.assign(this, { layers, sizes });
    byId("layers").max = layers.length;
    byId("size").max = sizes.length - 1;
    for (const name of ["layers", "size"]) {
      byId(name).addEventListener("input", () => {
        this.describe();
        changed();
      });
    }
  }

  /** Choose layers 1 to `layers`, or all if there are fewer, of size number `place`. */
  choose(layers, place) {
    byId("layers").value = Math.min(layers, this.layers.length);
    byId("size").value = place;
    this.describe();
  }

  /** Return the state: layers 1 to `layers` of size number `place`, a short side of `size`. */
  state() {
    const [layers, place] = [Number(byId("layers").value), Number(byId("size").value)];
    return { layers, place, size: this.sizes[place] };
  }

  describe() {
    const { layers, size } = this.state();
    byId("layers-text").textContent =
      `1 to ${layers} of ${this.layers.length} (${visible(this.layers[layers - 1])})`;
    byId("size-text").textContent = size ? `${size} pixels` : "full";
    for (const name of ["layers", "size"]) {
      byId(name).setAttribute("aria-valuetext", byId(`${name}-text`).textContent);
    }
  }

  /** Show the bytes that the chosen state of a picture takes. */
  count({ parts, width, height }) {
    const { layers, place } = this.state();
    const table = parts.map((row) => row.map((part) => part?.[1] ?? 0));
    const sum = (rows) => rows.flat().reduce((a, b) => a + b, 0);
    const needed = sum(table.slice(0, place + 1).map((row) => row.slice(0, layers)));
    const all = sum(table);
    const rate = (8 * needed) / (width * height);
    byId("bytes").textContent =
      `${countText(needed)} bytes, ${((100 * needed) / all).toFixed(1)} % of ` +
      `${sizeText(all)}; ${rate.toFixed(3)} bits for each pixel of the full picture`;
    byId("bytes").dataset.bytes = needed;
  }
}
