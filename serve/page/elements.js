"use strict";
// Builds elements, formats numbers, and cuts the pictures of a response into frames.

function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function head(titles) {
  return make("thead", {}, make("tr", {}, ...titles.map((title) => make("th", { scope: "col" }, title))));
}

function bar(value, tick = null) {
  const whole = make("span", { className: "bar", ariaHidden: "true" }, make("i", {}));
  whole.style.setProperty("--share", Math.min(1, Math.max(0, value)));
  if (tick !== null) {
    whole.append(make("b", {}));
    whole.style.setProperty("--tick", tick);
  }
  return whole;
}

function swatch(colour) {
  const patch = make("span", { className: "swatch" });
  if (colour) patch.style.setProperty("--colour", colour);
  return patch;
}

function code(fingerprint) {
  return make("code", { title: fingerprint }, fingerprint.slice(0, 12));
}

// A text that opens an explanation on click, touch or Enter.
function explain(text, ...paragraphs) {
  const note = make("div", { className: "note", popover: "auto" },
    ...paragraphs.filter(Boolean).map((paragraph) => make("p", {}, paragraph)));
  const button = make("button", { type: "button", className: "explained", popoverTargetElement: note }, text);
  note.addEventListener("beforetoggle", () => placeNote(note, button.getBoundingClientRect()));
  return make("span", {}, button, note);
}

function placeNote({ style }, { left, top, bottom }) {
  const { clientWidth, clientHeight } = document.documentElement;
  const width = Math.min(360, clientWidth - 24);
  const below = bottom < clientHeight / 2;
  style.width = `${width}px`;
  style.left = `${clamp(left, 12, clientWidth - width - 12)}px`;
  style.top = below ? `${bottom + scrollY + 4}px` : "auto";
  style.bottom = below ? "auto" : `${clientHeight - top - scrollY + 4}px`;
}

function fold(title, note, ...children) {
  return make("details", { className: "card" },
    make("summary", {}, make("h2", {}, title), " ", make("span", { className: "soft small" }, note)), ...children);
}

function scrollable(label, ...children) {
  return make("div", { className: "scroll", tabIndex: 0, role: "region", ariaLabel: label }, ...children);
}

// ---- pictures -------------------------------------------------------------------------------

async function loadImage(source) {
  const image = new Image();
  image.src = source;
  await image.decode();
  return image;
}

// `num` pictures that lie below one another, each as `take` makes it.
async function sliceSheet({ sprite, width, height }, num, take) {
  const image = await loadImage(sprite);
  return Promise.all(Array.from({ length: num }, (_, i) => take(image, 0, i * height, width, height)));
}

function greyPixels(image, left, top, width, height) {
  const context = make("canvas", { width, height }).getContext("2d", { willReadFrequently: true });
  context.drawImage(image, left, top, width, height, 0, 0, width, height);
  return context.getImageData(0, 0, width, height).data.filter((_, i) => i % 4 === 0);
}

// A canvas whose pixels have the colour of their value.
function paint(values, width, height, palette) {
  const canvas = make("canvas", { width, height });
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  new Uint32Array(image.data.buffer).set(values.length ? Uint32Array.from(values, (value) => palette[value]) : []);
  context.putImageData(image, 0, 0);
  return canvas;
}

function packColour(colour) { // "#rrggbb" as the four bytes of an opaque pixel
  const value = parseInt(colour.slice(1), 16);
  return packBytes(value >> 16, value >> 8 & 255, value & 255, 255);
}

function packBytes(red, green, blue, alpha) {
  return (alpha << 24 | blue << 16 | green << 8 | red) >>> 0;
}

// ---- numbers and words ----------------------------------------------------------------------

function largestOf(values) { return values.indexOf(Math.max(...values)); }
function mean(values) { return values.reduce((sum, value) => sum + value, 0) / values.length; }
function clamp(value, low, high) { return Math.min(high, Math.max(low, value)); }
function share(value) { return value.toFixed(2); }
function points(value) { return (100 * value).toFixed(1); } // of metrics, as in the report
function signed(value) { return `${value > 0 ? "+" : ""}${points(value)}`; }
function percent(value) { return `${(100 * value).toFixed(2)} %`; } // markers are small
function plain(value) { return Number(value.toFixed(1)).toString(); }
function seconds(ms) { return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`; }
function plural(num, noun) { return `${num} ${noun}${num === 1 ? "" : "s"}`; }
function megabytes(bytes) {
  return bytes < 2 ** 20 ? `${Math.ceil(bytes / 1024)} KiB` : `${plain(bytes / 2 ** 20)} MiB`;
}
function sentence(text) {
  const capital = text[0].toUpperCase() + text.slice(1);
  return /[.!?]$/.test(capital) ? capital : `${capital}.`;
}
function interval({ value, low, high }, format = points) {
  return low === null || high === null ? format(value) : `${format(value)} [${points(low)}, ${points(high)}]`;
}
