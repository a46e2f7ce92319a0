// The gallery of an archive: starts the page, and switches between its views and filters.

import { Grid } from "./grid.js";
import * as panels from "./panels.js";
import { Picture } from "./picture.js";
import { ask, byId, complain, countText, element, sizeText, visible } from "./text.js";

const SEPARATOR = "\u001f"; // between the name and the value of a label

const archive = await ask("archive").catch((error) => {
  complain(error);
  throw error;
});
byId("name").textContent = visible(archive.name);
document.title = `${visible(archive.name)} · Underpaint`;

let picture;
const grid = new Grid(archive, (row, at) => picture.open(row, at).catch(complain));
picture = new Picture(archive, grid, similar);

const filter = { q: "", label: [] };

const wholeArchive = `${countText(archive.count)} pictures, ${sizeText(archive.file_bytes)}`;
let shownRows = wholeArchive;

/** Say which rows the grid shows. */
function headline(text) {
  shownRows = text;
  byId("totals").textContent = text;
  byId("totals").dataset.count = grid.count;
}

async function showFiltered() {
  const filtered = filter.q || filter.label.length;
  byId("clear").hidden = !filtered;
  let damaged = 0;
  const load = async (start, stop, signal) => {
    const found = await ask("rows", { ...filter, start, stop }, signal);
    damaged = found.damaged;
    return found;
  };
  const empty = archive.count ? "No picture matches." : "This archive holds no picture.";
  if (!(await grid.show(load, empty))) return;
  headline(filtered
    ? `${countText(grid.count)} of ${countText(archive.count)} pictures` +
      (damaged ? `; damaged parts of the archive are left out: ${countText(damaged)}` : "")
    : wholeArchive);
}

async function similar(row) {
  view("pictures");
  resetFilter();
  const found = await ask(`similar/${row.n}`, { count: 60 }).catch(complain);
  if (!found) return;
  const load = async (start, stop) =>
    ({ rows: found.rows.slice(start, stop), count: found.rows.length });
  byId("clear").hidden = false;
  if (!(await grid.show(load))) return;
  headline(`${countText(grid.count)} pictures most like ${visible(row.key)}`);
}

const drawn = new Set();
function view(name) {
  for (const button of document.querySelectorAll("nav button")) {
    if (button.dataset.view === name) button.setAttribute("aria-current", "page");
    else button.removeAttribute("aria-current");
    byId(button.dataset.view).hidden = button.dataset.view !== name;
  }
  byId("filter").hidden = name !== "pictures";
  byId("totals").textContent = name === "pictures" ? shownRows : wholeArchive;
  if (name === "pictures" || drawn.has(name)) return;
  drawn.add(name);
  const draw = {
    failures: () => panels.failures(archive),
    statistics: () => panels.statistics(archive),
    duplicates: () => panels.duplicates(archive, (row) => picture.open(row).catch(complain)),
  }[name];
  Promise.resolve(draw()).catch((error) => {
    drawn.delete(name);
    byId(name).replaceChildren(element("p", {}, error.message));
    complain(error);
  });
}

for (const button of document.querySelectorAll("nav button")) {
  button.addEventListener("click", () => view(button.dataset.view));
}
document.querySelector('[data-view="duplicates"]').hidden = !archive.embeddings;

let typing;
byId("words").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => {
    filter.q = byId("words").value;
    showFiltered().catch(complain);
  }, 250);
});
byId("filter").addEventListener("submit", (event) => event.preventDefault());

byId("label-name").append(
  element("option", { value: "" }, "any"),
  ...archive.labels.map((name) => option(name, visible(name).slice(0, 60))),
);
byId("label-name-box").hidden = !archive.labels.length;
byId("label-name").addEventListener("change", async () => {
  const name = byId("label-name").value;
  byId("label-value-box").hidden = !name;
  filter.label = [];
  if (name) await listValues(name).catch(complain);
  await showFiltered().catch(complain);
});
byId("label-value").addEventListener("change", () => {
  const value = byId("label-value").value;
  const any = byId("label-value").selectedIndex === 0;
  filter.label = any ? [] : [byId("label-name").value + SEPARATOR + value];
  showFiltered().catch(complain);
});

function option(value, text) {
  const made = element("option", { value });
  made.textContent = text;
  return made;
}

async function listValues(name) {
  const { values } = await ask("values", { label: name });
  byId("label-value").replaceChildren(
    option("", "any"),
    ...values.map(([value, count]) =>
      option(value, `${visible(value).slice(0, 60)} (${countText(count)})`)),
  );
}

function resetFilter() {
  byId("words").value = "";
  byId("label-name").value = "";
  byId("label-value-box").hidden = true;
  Object.assign(filter, { q: "", label: [] });
}

byId("clear").addEventListener("click", () => {
  resetFilter();
  showFiltered().catch(complain);
});

await showFiltered().catch(complain);
