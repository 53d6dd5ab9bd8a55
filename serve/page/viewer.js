"use strict";
// Shows a clip with its overlays: playing, stepping, zooming, and the timeline of frame scores.

const FALLBACK_FPS = 15;
const LONGER_SIDE = 960; // of the canvases, so that lines stay fine
const MAX_ZOOM = 8;
const SCORES = [["#2f7ff0", "regular pleura, A-lines"], ["#f5a623", "indented pleura, vertical artefacts"],
  ["#fff3a6", "broken pleura, small consolidations"], ["#b5366f", "white lung"]];
const HEAT = Uint32Array.from({ length: 256 }, // opacity grows with the square, so that little stays dark
  (_, value) => packBytes(255, 40 + value * 0.7, 0, value * value / 255));

class Viewer {
  // `others` gives the viewers that play together with this one.
  constructor(ui, others) {
    Object.assign(this, { ui, others, content: null, shown: 0, timer: 0, view: { zoom: 1, x: 0, y: 0 } });
    this.pointers = new Map(); // the fingers on the picture, by id
    ui.play.addEventListener("click", () => this.togglePlay());
    ui.slider.addEventListener("input", () => this.seek(Number(ui.slider.value)));
    ui.speed.addEventListener("input", () => this.playing && this.play());
    for (const name of ["opacity", "crop"]) ui[name].addEventListener("input", () => this.draw());
    ui.overlay.addEventListener("input", () => this.showOverlay());
    for (const name of ["brightness", "contrast"]) ui[name].addEventListener("input", () => this.adjust());
    ui.zoomIn.addEventListener("click", () => this.zoomBy(1.5));
    ui.zoomOut.addEventListener("click", () => this.zoomBy(1 / 1.5));
    ui.reset.addEventListener("click", () => this.reset());
    ui.stage.addEventListener("wheel", (event) => this.onWheel(event), { passive: false });
    ui.stage.addEventListener("pointerdown", (event) => this.onPointerDown(event));
    ui.stage.addEventListener("pointermove", (event) => this.onPointerMove(event));
    for (const name of ["pointerup", "pointercancel"]) {
      ui.stage.addEventListener(name, (event) => this.pointers.delete(event.pointerId));
    }
    for (const name of ["pointerdown", "pointermove"]) {
      ui.timeline.addEventListener(name, (event) => this.onTimeline(event));
    }
    new ResizeObserver(() => this.drawTimeline()).observe(ui.timeline);
  }

  // The decoded pictures of a response, for `show`.
  static async prepare(response) {
    const { clip, preview, masks, attention } = response;
    const [every, num] = preview ? [preview.every, preview.num_frames] : [1, clip.num_frames];
    const [pictures, ids, heat] = await Promise.all([
      preview ? sliceSheet(preview, num, (...part) => createImageBitmap(...part)) : [],
      masks ? sliceSheet(masks, masks.num_frames, greyPixels) : [],
      attention ? sliceSheet(attention, attention.num_frames * attention.targets.length, greyPixels) : [],
    ]);
    return { response, every, num, pictures, ids, heat, fps: (clip.fps || FALLBACK_FPS) / every };
  }

  show(content) {
    this.pause();
    this.content = content;
    const { preview, frames, masks } = content.response;
    const { ui } = this;
    ui.noPicture.hidden = Boolean(preview);
    ui.slider.max = content.num - 1;
    ui.frameScores.hidden = ui.scoreHere.hidden = !frames;
    ui.cropChoice.hidden = !(frames && frames.boxes);
    const scale = preview ? LONGER_SIDE / Math.max(preview.width, preview.height) : 0;
    for (const canvas of [ui.picture, ui.marks]) {
      canvas.hidden = !preview;
      if (preview) [canvas.width, canvas.height] = [preview.width, preview.height].map((side) => Math.round(side * scale));
    }
    this.palette = masks ? masks.classes.map((_, k) => (k ? packColour(colourOf(masks, k)) : 0)) : [];
    if (frames) this.showScoreLegend(frames, content.response.models);
    this.listOverlays();
    this.reset();
    this.seek(0);
    this.drawTimeline();
    if (content.num > 1 && !matchMedia("(prefers-reduced-motion: reduce)").matches) this.play();
  }

  showScoreLegend({ classes, score, model }, models) {
    const items = classes.map((name, k) => make("li", {}, swatch(SCORES[k][0]),
      make("strong", {}, name), make("span", { className: "soft" }, ` ${SCORES[k][1]}`)));
    this.ui.scoreLegend.replaceChildren(...items, make("li", {}, modelNote(models, model)));
    this.ui.columns.ariaLabel = `Score of every frame, mean ${mean(score).toFixed(1)}`;
  }

  // ---- time ---------------------------------------------------------------------------------

  get playing() { return this.timer !== 0; }
  get frame() { return Math.min(this.shown * this.content.every, this.content.response.clip.num_frames - 1); }
  get group() { return [this, ...this.others()].filter((viewer) => viewer.content); }

  togglePlay() {
    const pauses = this.playing;
    for (const viewer of this.group) pauses ? viewer.pause() : viewer.play();
  }

  play() {
    this.pause();
    const rate = this.content.fps * Number(this.ui.speed.value) / 1000;
    const from = performance.now() - this.shown / rate;
    const step = (now) => {
      this.timer = requestAnimationFrame(step);
      const next = Math.floor(Math.max(0, now - from) * rate) % this.content.num;
      if (next !== this.shown) this.move(next);
    };
    this.timer = requestAnimationFrame(step);
    this.ui.play.textContent = "Pause";
  }

  pause() {
    cancelAnimationFrame(this.timer);
    this.timer = 0;
    this.ui.play.textContent = "Play";
  }

  seek(shown) {
    const at = clamp(shown, 0, this.content.num - 1);
    for (const viewer of this.group) {
      viewer.pause();
      viewer.move(viewer === this ? at : Math.round(at / this.content.fps * viewer.content.fps) % viewer.content.num);
    }
  }

  move(shown) {
    this.shown = shown;
    const { clip, frames } = this.content.response;
    const { ui, frame } = this;
    const time = clip.fps ? `, ${(frame / clip.fps).toFixed(2)} s` : "";
    ui.where.textContent = `Frame ${frame + 1} of ${clip.num_frames}${time}`;
    ui.slider.value = shown;
    ui.slider.setAttribute("aria-valuetext", ui.where.textContent);
    if (frames) {
      ui.mark.style.transform = `translateX(${100 * (frame + 0.5) / clip.num_frames}%)`;
      ui.scoreHere.textContent = `score ${plain(frames.score[frame])} (${frames.probability[frame].map(share).join(", ")})`;
    }
    this.draw();
  }

  // ---- picture and overlays -----------------------------------------------------------------

  listOverlays() {
    const { masks, attention, models } = this.content.response;
    const targets = attention ? attention.targets.map(({ name }, k) => new Option(name, k)) : [];
    const nothing = make("option", { disabled: true }, "no finding to explain");
    this.ui.overlay.replaceChildren(new Option("none", "none"), ...(masks ? [new Option("segmentation", "masks")] : []),
      make("optgroup", { label: "where it looked" }, ...(targets.length ? targets : [nothing])));
    this.ui.overlay.value = targets.length ? targets[0].value : masks && isShownGood(models, masks.model) ? "masks" : "none";
    this.showOverlay();
  }

  showOverlay() {
    this.ui.legend.replaceChildren(overlayLegend(this.content.response, this.ui.overlay.value));
    this.draw();
  }

  draw() {
    const { pictures, response } = this.content;
    if (!pictures.length) return;
    const { picture, marks, opacity, crop } = this.ui;
    picture.getContext("2d").drawImage(pictures[this.shown], 0, 0, picture.width, picture.height);
    const context = marks.getContext("2d");
    context.clearRect(0, 0, marks.width, marks.height);
    const layer = this.overlay();
    if (layer) {
      context.imageSmoothingEnabled = this.ui.overlay.value !== "masks";
      context.globalAlpha = opacity.value / 100;
      context.drawImage(layer, 0, 0, marks.width, marks.height);
      context.globalAlpha = 1;
    }
    const boxes = response.frames && crop.checked && response.frames.boxes;
    if (boxes && boxes[this.frame]) drawBox(context, boxes[this.frame]);
  }

  overlay() {
    const { response: { clip, masks, attention }, ids, heat } = this.content;
    const chosen = this.ui.overlay.value;
    if (chosen === "none") return null;
    if (chosen === "masks") {
      const every = Math.ceil(clip.num_frames / masks.num_frames);
      return paint(ids[Math.floor(this.frame / every)], masks.width, masks.height, this.palette);
    }
    const { num_frames: num, width, height, every } = attention;
    const index = Number(chosen) * num + Math.min(num - 1, Math.floor(this.frame / every));
    return paint(heat[index], width, height, HEAT);
  }

  adjust() {
    const { picture, brightness, contrast } = this.ui;
    picture.style.filter = `brightness(${brightness.value}%) contrast(${contrast.value}%)`;
  }

  // ---- zoom -----------------------------------------------------------------------------------

  reset() {
    this.ui.brightness.value = this.ui.contrast.value = 100;
    this.adjust();
    this.zoomBy(0);
  }

  // Keeps the point (x, y) in place, in pixels from the middle of the stage.
  zoomBy(factor, x = 0, y = 0) {
    const zoom = clamp(this.view.zoom * factor, 1, MAX_ZOOM);
    const scale = zoom / this.view.zoom;
    this.place(zoom, x + (this.view.x - x) * scale, y + (this.view.y - y) * scale);
  }

  panBy(x, y) { this.place(this.view.zoom, this.view.x + x, this.view.y + y); }

  place(zoom, x, y) {
    const { stage, layers } = this.ui;
    const [right, down] = [stage.clientWidth, stage.clientHeight].map((side) => side * (zoom - 1) / 2);
    this.view = { zoom, x: clamp(x, -right, right), y: clamp(y, -down, down) };
    layers.style.transform = `translate(${this.view.x}px, ${this.view.y}px) scale(${zoom})`;
    stage.classList.toggle("zoomed", zoom > 1);
    this.ui.zoom.textContent = `${Math.round(100 * zoom)} %`;
  }

  fromMiddle({ clientX, clientY }) {
    const { left, top, width, height } = this.ui.stage.getBoundingClientRect();
    return [clientX - left - width / 2, clientY - top - height / 2];
  }

  onWheel(event) { // the page still scrolls over a picture that was not clicked
    if (document.activeElement !== this.ui.stage && !event.ctrlKey) return;
    event.preventDefault();
    this.zoomBy(Math.exp(-clamp(event.deltaY, -100, 100) / 300), ...this.fromMiddle(event));
  }

  onPointerDown(event) {
    this.pointers.set(event.pointerId, event);
    this.ui.stage.setPointerCapture(event.pointerId);
  }

  onPointerMove(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const [other] = [...this.pointers.values()].filter(({ pointerId }) => pointerId !== event.pointerId);
    if (other) {
      const distance = (a) => Math.max(1, Math.hypot(a.clientX - other.clientX, a.clientY - other.clientY));
      this.zoomBy(distance(event) / distance(before), ...this.fromMiddle(other));
    } else {
      this.panBy(event.clientX - before.clientX, event.clientY - before.clientY);
    }
    this.pointers.set(event.pointerId, event);
  }

  onKey(event) {
    const { ui } = this;
    const own = [ui.stage, ui.slider].includes(event.target);
    const steps = { ArrowLeft: -1, ArrowRight: 1, ...(own && { Home: -Infinity, End: Infinity }) };
    const pans = { ArrowLeft: [40, 0], ArrowRight: [-40, 0], ArrowUp: [0, 40], ArrowDown: [0, -40] };
    const zooms = { "+": 1.5, "=": 1.5, "-": 1 / 1.5, 0: 0 };
    if (event.key === " ") this.togglePlay();
    else if (event.target === ui.slider) return; // the browser handles its other keys
    else if (own && event.shiftKey && event.key in pans) this.panBy(...pans[event.key]);
    else if (own && event.key in zooms) this.zoomBy(zooms[event.key]);
    else if (event.key in steps) this.seek(this.shown + steps[event.key]);
    else return;
    event.preventDefault();
  }

  // ---- timeline -----------------------------------------------------------------------------

  onTimeline(event) {
    if (event.type === "pointermove" && !event.buttons) return;
    const { left, width } = this.ui.timeline.getBoundingClientRect();
    const frame = (event.clientX - left) / width * this.content.response.clip.num_frames;
    this.seek(Math.floor(frame / this.content.every));
  }

  drawTimeline() {
    const { columns, timeline } = this.ui;
    const frames = this.content && this.content.response.frames;
    if (!frames || !timeline.clientWidth) return;
    const sharp = window.devicePixelRatio || 1;
    const [width, height] = [timeline.clientWidth * sharp, timeline.clientHeight * sharp].map(Math.round);
    [columns.width, columns.height] = [width, height];
    const context = columns.getContext("2d");
    const num = frames.probability.length;
    frames.probability.forEach((probability, i) => {
      const [left, right] = [Math.floor(i * width / num), Math.floor((i + 1) * width / num)];
      let bottom = height;
      probability.forEach((p, k) => {
        context.fillStyle = SCORES[k][0];
        context.fillRect(left, bottom - p * height, right - left, p * height + 1);
        bottom -= p * height;
      });
    });
  }
}

function drawBox(context, corners) {
  const { width, height } = context.canvas;
  context.beginPath();
  corners.forEach(([x, y]) => context.lineTo(x * width, y * height));
  context.closePath();
  for (const [colour, thick] of [["#000", 5], ["#fff", 2.5]]) {
    Object.assign(context, { strokeStyle: colour, lineWidth: thick });
    context.setLineDash([14, 9]);
    context.stroke();
  }
}

function colourOf({ colours }, k) { return colours[(k - 1) % colours.length]; } // class 0 is the background
