// Elements, texts and requests. Foreign text only ever becomes a text node.

const STEERING = /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;

/** Return a text in which characters that control layout or direction are escapes. */
export const visible = (text) =>
  String(text).replace(STEERING, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);

/** Return a new element with properties and children; texts are made visible. */
export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key in made) made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children.map((child) => (child instanceof Node ? child : isolated(child))));
  return made;
}

function isolated(text) {
  const part = document.createElement("bdi");
  part.textContent = visible(text);
  return part;
}

export const byId = (id) => document.getElementById(id);

/** Return a number of bytes as a text such as "3.4 MB". */
export function sizeText(count) {
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (count < 999.5) return `${unit === "B" ? count : Number(count.toPrecision(3))} ${unit}`;
    count /= 1000;
  }
  return `${Number(count.toPrecision(4))} TB`;
}

export const countText = (count) => count.toLocaleString("en");

/** Return the JSON answer of the server; an Error with its one line if it refuses. */
export async function ask(path, parameters = {}, signal) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    for (const one of [value].flat()) query.append(name, one);
  }
  let answer;
  try {
    answer = await fetch(`/api/${path}?${query}`, { signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("the server does not answer; is `underpaint serve` still running?");
  }
  const value = await answer.json().catch(() => ({ error: `status ${answer.status}` }));
  if (!answer.ok) throw new Error(value.error);
  showTraffic(value);
  return value;
}

/** Show how many bytes the server has read from storage. */
export function showTraffic({ fetched, requests }) {
  if (fetched === undefined) return;
  byId("traffic").textContent = `${sizeText(fetched)} read in ${countText(requests)} requests`;
  byId("traffic").dataset.fetched = fetched;
}

let hiding;
/** Show an error to the reader for some seconds, above an open dialog. */
export function complain(error) {
  if (error.name === "AbortError") return;
  const message = byId("message");
  (document.querySelector("dialog[open]") ?? document.body).append(message);
  message.textContent = visible(error.message);
  message.hidden = false;
  clearTimeout(hiding);
  hiding = setTimeout(() => (message.hidden = true), 8000);
}

/** Layers of a thumbnail that is sharp enough to stay. */
export const SHARP_LAYERS = 3;

const THUMBNAIL = 128; // short side in pixels

/** Return the address of a thumbnail of row `number` from its first layers, at most all. */
export function thumbnailAddress(archive, number, layers) {
  const most = Math.min(layers, archive.layers.length);
  return pictureAddress(archive.version, number, { layers: most, size: THUMBNAIL, thumbnail: 1 });
}

/** Return the address of a picture; `parameters` are those of /api/picture. */
export function pictureAddress(version, number, parameters) {
  return `/api/picture/${number}?${new URLSearchParams({ v: version, ...parameters })}`;
}
