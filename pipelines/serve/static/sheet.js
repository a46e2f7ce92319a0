// A contact sheet that knows where its archive is: the picture that is opened is decoded here, from
// any number of layers. Without scripts, its tiles lead to the pictures as files.

import { LocalPicture } from "./local_picture.js";
import { Sliders } from "./sliders.js";
import { byId, complain, element, visible } from "./text.js";

/** Short side in pixels that a picture has first, if the archive has such a size. */
const FIRST_SIZE = 512;

class Sheet {
  constructor({ archive, weights, layers, sizes, shown, pictures }, tiles) {
    Object.assign(this, { pictures, tiles, sizes, shown });
    this.box = byId("picture");
    this.sliders = new Sliders({ layers, sizes }, () => this.change());
    this.local = new LocalPicture(
      { archive, weights, sizes },
      { canvas: byId("drawn"), status: byId("status"), drawn: () => this.drawn() },
    );
    byId("close").addEventListener("click", () => this.box.close());
    byId("before").addEventListener("click", () => this.open(this.at - 1));
    byId("after").addEventListener("click", () => this.open(this.at + 1));
    this.box.addEventListener("close", () => {
      clearTimeout(this.quiet);
      this.local.stop();
      this.tiles[this.at].focus();
    });
    this.box.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (by && event.target.type !== "range") this.open(this.at + by);
    });
    tiles.forEach((tile, at) => tile.addEventListener("click", (event) => {
      const elsewhere = event.ctrlKey || event.metaKey || event.shiftKey || event.altKey;
      if (elsewhere || !pictures[at]) return; // follow the link to the file
      event.preventDefault();
      this.open(at);
    }));
  }

  /** Open picture number `at`, if there is one whose layers can be fetched. */
  open(at) {
    const picture = this.pictures[at];
    if (!picture) return;
    this.at = at;
    if (!this.box.open) {
      const place = this.sizes.findIndex((size) => !size || size >= FIRST_SIZE);
      this.sliders.choose(this.shown, place < 0 ? this.sizes.length - 1 : place);
      this.box.showModal();
    }
    byId("picture-key").replaceChildren(element("bdi", {}, picture.key));
    byId("file").src = this.tiles[at].href;
    byId("file").alt = visible(picture.key);
    byId("file").hidden = false;
    byId("drawn").hidden = true;
    this.change();
  }

  /** Show the state that is chosen; the JPEG file stays until then. */
  change() {
    const picture = this.pictures[this.at];
    const { layers, place } = this.sliders.state();
    this.sliders.count(picture);
    this.local.stop();
    clearTimeout(this.quiet);
    this.quiet = setTimeout(() => {
      byId("stage").setAttribute("aria-busy", true);
      this.local.show(picture, layers, place).catch((error) => {
        byId("stage").setAttribute("aria-busy", false);
        this.local.stop();
        byId("file").hidden = false;
        byId("drawn").hidden = true;
        byId("status").textContent = "these layers cannot be shown; this is the picture of the page";
        complain(error);
      });
    }, 60);
  }

  drawn() {
    byId("stage").setAttribute("aria-busy", false);
    byId("drawn").hidden = false;
    byId("file").hidden = true;
  }
}

const answer = await fetch("sheet.json");
if (!answer.ok) throw new Error(`sheet.json: status ${answer.status}`);
new Sheet(await answer.json(), [...document.querySelectorAll("#pictures a")]);
document.documentElement.dataset.ready = true;
