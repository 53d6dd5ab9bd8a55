"use strict";
// Sends clips and shows their responses, in one slot or in two side by side.

const server = { token: "", locked: false, largest: Infinity, formats: [] };
const ui = Object.fromEntries([...document.querySelectorAll("[id]")].map((element) => [element.id, element]));
const slots = [];

class Slot {
  constructor(name) {
    this.root = ui.slot.content.firstElementChild.cloneNode(true);
    this.ui = Object.fromEntries([...this.root.querySelectorAll("[data-part]")].map((e) => [e.dataset.part, e]));
    this.root.ariaLabel = name;
    Object.assign(this, { pending: null, request: null, response: null });
    this.viewer = new Viewer(this.ui, () => (ui.together.checked && slots.length > 1
      ? slots.filter((slot) => slot !== this).map((slot) => slot.viewer) : []));
    const { choose, file, example, again, cancel, save } = this.ui;
    choose.addEventListener("click", () => file.click());
    file.addEventListener("change", () => { this.upload(file.files[0]); file.value = ""; });
    example.addEventListener("click", () => this.tryExample());
    again.addEventListener("click", () => (this.pending ? this.upload(this.pending) : this.tryExample()));
    cancel.addEventListener("click", () => this.request && this.request.abort());
    save.addEventListener("click", () => this.save());
    this.describeLimits();
    ui.slots.append(this.root);
  }

  describeLimits() {
    const { largest, formats } = server;
    if (!formats.length) return;
    this.ui.file.accept = [...formats, "*/*"].join(); // DICOM often has no ending
    this.ui.formats.replaceChildren("a video, a picture or DICOM", ...(largest < Infinity ? [` of up to ${megabytes(largest)}`] : []),
      " (", explain("formats", `Endings: ${formats.map((ending) => ending.slice(1)).join(", ")}. Files without an ending are read, too.`), ")");
  }

  // ---- request ------------------------------------------------------------------------------

  async tryExample() {
    this.pending = null;
    this.setBusy(true);
    this.ui.status.textContent = "Loading the example.";
    try {
      const reply = await fetch("v1/example", { headers: authorization() });
      if (reply.status === 401) return this.requestToken();
      if (!reply.ok) throw new Error((await reply.json()).error);
      this.upload(new File([await reply.blob()], "phantom.png"), { isExample: true });
    } catch (error) {
      this.showError(error instanceof TypeError ? UNREACHABLE : `The example cannot be loaded: ${error.message}`);
    }
  }

  upload(file, { isExample = Boolean(file) && file === this.example } = {}) {
    if (!file) return;
    const earlier = this.request;
    this.request = null;
    if (earlier) earlier.abort();
    [this.pending, this.ui.again.hidden] = [file, true];
    if (isExample) this.example = file;
    if (!file.size) return this.showError("The file is empty, or it is a folder; choose one clip.");
    if (file.size > server.largest) {
      return this.showError(`The file has ${megabytes(file.size)}; this server accepts up to ${megabytes(server.largest)}.`);
    }
    if (server.locked) return this.requestToken(); // before anything is sent
    const body = new FormData();
    body.append("file", file, "clip"); // a file name may contain a patient's name
    this.request = this.prepareRequest();
    this.setBusy(true);
    this.showProgress(0, file.size);
    this.request.send(body);
  }

  prepareRequest() {
    const query = new URLSearchParams({ preview: 1, attention: true });
    if (this.ui.uncertainty.checked) query.set("uncertainty", 1);
    if (this.ui.allowText.checked) query.set("allow_text", 1);
    const request = new XMLHttpRequest(); // unlike fetch it reports the progress of an upload
    request.open("POST", `v1/clips?${query}`);
    for (const [name, value] of Object.entries(authorization())) request.setRequestHeader(name, value);
    request.responseType = "json";
    request.upload.addEventListener("progress", (event) => this.showProgress(event.loaded, event.total));
    const current = (act) => (event) => event.target === this.request && act();
    request.addEventListener("load", current(() => this.onResponse(request)));
    request.addEventListener("error", current(() => this.showError(UNREACHABLE)));
    request.addEventListener("abort", current(() => this.showError("Cancelled.")));
    return request;
  }

  showProgress(loaded, total) {
    if (loaded < total) {
      this.ui.progress.value = loaded / total;
      this.ui.status.textContent = `Uploading ${megabytes(total)}.`;
    } else {
      this.ui.progress.removeAttribute("value");
      this.ui.status.textContent = "Analysing the clip.";
    }
  }

  onResponse(request) {
    if (request.status === 200 && request.response) {
      return this.show(request.response).catch(() => this.showError("The response could not be displayed."));
    }
    if (request.status === 401) return this.requestToken();
    const wait = Number(request.getResponseHeader("Retry-After"));
    const text = (request.response && request.response.error) || `The server responded with status ${request.status}`;
    this.showError(wait && !text.includes("try again") ? `${text}; try again in ${wait} s` : text);
  }

  requestToken() {
    this.showError("This server requires a token.");
    [server.locked, server.asking] = [true, this];
    ui.key.showModal();
  }

  setBusy(busy) {
    this.ui.progress.classList.toggle("quiet", !busy);
    this.ui.cancel.hidden = !busy;
    this.ui.again.hidden = true;
    this.ui.error.textContent = "";
    this.ui.result.setAttribute("aria-busy", String(busy));
    ui["served-models"].hidden = busy;
  }

  showError(text) {
    this.request = null;
    this.setBusy(false);
    this.ui.status.textContent = "";
    const left = this.response ? " The results below are those of the earlier clip." : "";
    this.ui.error.textContent = sentence(text) + left;
    this.ui.again.hidden = false;
    this.ui.error.focus();
  }

  // ---- response -----------------------------------------------------------------------------

  async show(response) {
    const content = await Viewer.prepare(response);
    this.request = null;
    this.response = response;
    this.setBusy(false);
    const { result, warning, warningReason, summary, summaryTitle, caption, details, status } = this.ui;
    result.hidden = false;
    ui.notice.textContent = response.notice;
    showBanner(response.banner);
    status.textContent = `Done in ${seconds(response.timings_ms.total)}.`;
    const { likely, reasons } = response.lung_ultrasound;
    warning.hidden = likely;
    warningReason.textContent = `${reasons.map(sentence).join(" ")} Do not rely on the predictions below.`;
    caption.textContent = this.pending === this.example
      ? "Example: a phantom clip that the server simulated. It shows no patient." : "";
    summary.replaceChildren(...summarise(response));
    details.replaceChildren(...detailsOf(response));
    showModels(response.models);
    this.viewer.show(content);
    summaryTitle.focus({ preventScroll: true });
  }

  save() {
    const link = make("a", { download: "prediction.json" });
    link.href = URL.createObjectURL(new Blob([JSON.stringify(this.response)], { type: "application/json" }));
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  close() {
    if (this.request) this.request.abort();
    this.viewer.pause();
    this.root.remove();
  }
}

const UNREACHABLE = "The server cannot be reached. Check that it is running, then try again.";

function authorization() {
  return server.token ? { Authorization: `Bearer ${server.token}` } : {};
}

// ---- server ---------------------------------------------------------------------------------

async function listModels() {
  try {
    const reply = await fetch("v1/models", { headers: authorization() });
    server.locked = reply.status === 401;
    if (!reply.ok) throw new Error((await reply.json()).error);
    const { models, refused, limits, banner, formats } = await reply.json();
    Object.assign(server, { largest: limits.body_bytes, formats });
    slots.forEach((slot) => slot.describeLimits());
    showBanner(banner);
    showModels(models);
    ui.rejected.replaceChildren(...refused.map((why) => make("li", {}, sentence(`Rejected: ${why}`))));
  } catch (error) {
    ui["models-summary"].textContent = server.locked ? "Enter the token to list the models."
      : error instanceof TypeError ? UNREACHABLE : sentence(error.message);
  }
  document.body.classList.remove("loading");
  ui["served-models"].hidden = slots.some((slot) => slot.request);
}

function showBanner(text) {
  ui.banner.hidden = !text;
  ui.banner.textContent = text || "";
}

function showModels(models) {
  ui["models-summary"].textContent = models.length ? `${countKinds(models)}: what each was trained on and how good it is`
    : "This server has no models yet.";
  ui.models.replaceChildren(...(models.length ? modelTable(models) : []));
}

async function useToken() {
  const given = ui.key.returnValue && ui.token.value.trim();
  ui.token.value = ui.key.returnValue = "";
  if (!given) return;
  server.token = given;
  await listModels();
  const slot = server.asking;
  if (server.locked) slot.showError("The server rejects this token.");
  else if (slot.pending) slot.upload(slot.pending);
  else slot.tryExample();
}

// ---- the whole page -------------------------------------------------------------------------

function setNumSlots(num) {
  while (slots.length < num) slots.push(new Slot(slots.length ? "Second clip" : "Clip"));
  while (slots.length > num) slots.pop().close();
  ui.slots.classList.toggle("pair", num > 1);
  ui.add.hidden = num > 1;
  ui["together-choice"].hidden = ui.remove.hidden = num < 2;
}

function slotOf(target) {
  return slots.find(({ root }) => root.contains(target)) || slots[0];
}

function onDrag(event) {
  event.preventDefault();
  const slot = slotOf(event.target);
  for (const { ui: { drop }, root } of slots) drop.classList.toggle("over", event.type === "dragover" && root === slot.root);
  if (event.type === "drop") slot.upload(event.dataTransfer.files[0]);
}

function onKey(event) {
  const { target } = event;
  const free = target === document.body || target.matches("[data-part=stage], [data-part=slider], [data-part=summaryTitle]");
  const { viewer } = slotOf(target);
  if (viewer.content && free && !event.ctrlKey && !event.metaKey && !event.altKey) viewer.onKey(event);
}

ui.add.addEventListener("click", () => { setNumSlots(2); slots[1].ui.choose.focus(); });
ui.remove.addEventListener("click", () => { setNumSlots(1); ui.add.focus(); });
ui.key.addEventListener("close", useToken);
document.addEventListener("keydown", onKey);
document.addEventListener("paste", (event) => slotOf(event.target).upload(event.clipboardData.files[0]));
for (const name of ["dragover", "dragleave", "drop"]) document.addEventListener(name, onDrag);
setNumSlots(1);
listModels();
