// The views beside the grid: duplicates, failures, statistics.

import {
  SHARP_LAYERS, ask, byId, complain, countText, element, sizeText, thumbnailAddress,
} from "./text.js";

const LETTERS = 100;

function table(caption, head, rows, className = "") {
  const cells = (name, values) => values.map((value) => element(name, {}, value));
  return element("div", { className: "scroll" }, element("table", { className },
    element("caption", {}, caption),
    element("thead", {}, element("tr", {}, ...cells("th", head))),
    element("tbody", {}, ...rows.map((row) => element("tr", {}, ...cells("td", row)))),
  ));
}

/** Show the causes of failures, and the dead letters of the one that is chosen. */
export function failures(archive) {
  const box = byId("failures");
  const letters = element("div", { role: "status" });
  const causes = archive.failures.map(([cause, count]) =>
    [element("button", { type: "button", onclick: () => list(cause, 0).catch(complain) }, cause),
      countText(count)]);
  box.replaceChildren(
    causes.length
      ? table(`${countText(archive.failed)} ${archive.failed === 1 ? "input" : "inputs"} failed, by cause`, ["cause", "inputs"], causes)
      : element("p", {}, "No input failed."),
    letters,
    archive.skipped.length
      ? table("Files that are no pictures, by reason", ["reason", "files"],
        archive.skipped.map(([reason, count]) => [reason, countText(count)]))
      : element("p", {}, "No file was skipped."),
  );

  async function list(cause, start) {
    const found = await ask("failures", { cause, start, stop: start + LETTERS });
    const rows = found.letters.map((one) => [one.key, one.message, one.source_uri]);
    letters.replaceChildren(
      table(`${cause}: ${countText(start + 1)} to ${countText(start + rows.length)}`,
        ["key", "message", "source"], rows, "texts"),
    );
    const turn = (text, to) => element("button", {
      type: "button", onclick: () => list(cause, to).catch(complain),
    }, text);
    if (start > 0) letters.append(turn("Previous", start - LETTERS));
    if (rows.length === LETTERS) letters.append(turn("Next", start + LETTERS));
  }
}

/** Show pairs of pictures that are likely duplicates. */
export async function duplicates(archive, open) {
  const box = byId("duplicates");
  box.replaceChildren(element("p", {}, "Comparing all pairs…"));
  const { pairs, most } = await ask("duplicates");
  const thumbnail = (row) => element("button", {
    type: "button", onclick: () => open(row), "aria-label": row.key,
  }, element("img", {
    alt: "", loading: "lazy",
    src: thumbnailAddress(archive, row.n, SHARP_LAYERS),
  }));
  box.replaceChildren(
    element("p", {}, pairs.length
      ? `${pairs.length < most ? "" : "The first "}${countText(pairs.length)} pairs with a similarity of 0.98 or more`
      : "No two pictures have a similarity of 0.98 or more."),
    ...pairs.map(({ similarity, one, other }) => element("div", { className: "pair" },
      thumbnail(one), thumbnail(other),
      element("span", {}, similarity.toFixed(4), element("br"), one.key, element("br"), other.key))),
  );
}

/** Show bytes by layer and size, and histograms of the pictures. */
export async function statistics(archive) {
  const box = byId("statistics");
  const sizes = archive.sizes.map((size) => (size ? `${size} pixels` : "full size"));
  const rate = (bytes) => ((8 * bytes) / Math.max(1, archive.pixels)).toFixed(4);
  const needed = archive.layers.map((name, layer) => {
    const cells = archive.sizes.map((_, place) => archive.size_bytes.slice(0, place + 1)
      .reduce((sum, row) => sum + row.slice(0, layer + 1).reduce((a, b) => a + b, 0), 0));
    return [layer ? `1 to ${layer + 1}, ${name}` : `1, ${name}`,
      ...cells.map(sizeText), rate(cells.at(-1))];
  });
  box.replaceChildren(
    table("Totals", ["", ""], [
      ["pictures", countText(archive.count)],
      ["megapixels", countText(Math.round(archive.pixels / 1e4) / 100)],
      ["source files", sizeText(archive.source_bytes)],
      ["archive", sizeText(archive.file_bytes)],
      ["weights", archive.weights],
    ]),
    table("Bytes that a job reads, by layers and size",
      ["layers", ...sizes, "bits per pixel"], needed),
  );
  const { megapixels, bits } = await ask("histograms");
  box.append(
    histogram("Pictures by megapixels", megapixels),
    histogram("Pictures by bits per pixel of their row group", bits),
  );
}

function histogram(caption, [ends, counts]) {
  const most = Math.max(1, ...counts);
  const rows = counts.map((count, at) => {
    const to = at + 1 < ends.length ? `${ends[at]} to ${ends[at + 1]}` : `${ends[at]} or more`;
    const bar = element("meter", { min: 0, max: most, value: count, "aria-label": countText(count) });
    return [to, bar, countText(count)];
  });
  const used = counts.map((count, at) => (count ? at : -1)).filter((at) => at >= 0);
  return table(caption, ["", "", "pictures"], rows.slice(used[0] ?? 0, (used.at(-1) ?? 0) + 1));
}
