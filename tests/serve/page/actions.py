"""Actions of a user, and measurements in the browser."""

from decimal import ROUND_HALF_UP, Decimal

from playwright.sync_api import FilePayload, Locator, Page

NAME = "Mustermann_Erika.mp4"
"""Of the chosen file; it must not leave the user's machine."""

PREDICTED = ".result[aria-busy=false]:not([hidden])"
TIMEOUT_MS = 60_000

CONTRASTS = """() => {
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const rgb = (...layers) => {
    for (canvas.fillStyle of layers) canvas.fillRect(0, 0, 1, 1);
    return canvas.getImageData(0, 0, 1, 1).data;
  };
  const behind = (element) => {
    const layers = [];
    for (let e = element; e; e = e.parentElement)
      layers.unshift(getComputedStyle(e).backgroundColor);
    return rgb("#fff", ...layers);
  };
  const contrasts = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const [element, text] = [texts.currentNode.parentElement, texts.currentNode.data.trim()];
    if (!text || !element.checkVisibility({ visibilityProperty: true })) continue;
    const [a, b] = [light(behind(element)), light(rgb(getComputedStyle(element).color))];
    contrasts.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), text]);
  }
  return contrasts.sort((a, b) => a[0] - b[0]);
}"""
"""Contrast of every visible text with its background (WCAG 2.2, 1.4.3), the lowest first."""

WATCH_NAMES = """() => {
  window.names = [];
  const send = XMLHttpRequest.prototype.send;
  XMLHttpRequest.prototype.send = function (body) {
    window.names.push(body.get("file").name);
    return send.call(this, body);
  };
}"""
"""Records the file names that the page sends."""

SHIFTS = """() => {
  window.shifted = 0;
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) window.shifted += entry.value;
  }).observe({ type: "layout-shift", buffered: true });
}"""
"""Sums unexpected layout shifts (Layout Instability, W3C)."""


def part(root: Page | Locator, name: str) -> Locator:
    """A part of the first slot of a page, or of one slot."""
    return root.locator(f"[data-part={name}]").first


def choose(root: Page | Locator, content: bytes, name: str = NAME) -> None:
    file = FilePayload(name=name, mimeType="video/mp4", buffer=content)
    part(root, "file").set_input_files(file)


def predict(root: Page | Locator, content: bytes) -> None:
    choose(root, content)
    root.locator(PREDICTED).wait_for(timeout=TIMEOUT_MS)
    if part(root, "play").inner_text() == "Pause":
        part(root, "play").click()


def texts(page: Page, selector: str) -> list[str]:
    """Of folded elements, too."""
    return page.locator(selector).all_text_contents()


def rounded(values: list[float], num_decimals: int = 2) -> list[str]:
    """Numbers rounded like in a browser, half up."""
    step = Decimal(1).scaleb(-num_decimals)
    return [str(Decimal(value).quantize(step, ROUND_HALF_UP)) for value in values]
