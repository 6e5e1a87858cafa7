"""A headless browser that looks at an HTML page as a reader does: sizes, colours, keyboard, errors.

    with browser(tmp_path) as driver:
        page = load(driver, path, width=390, dark=True)
        assert not [*problems(page), *overflow(page), *keyboard(page)]

Each check returns a list of sentences, one for each fault; an empty list is good.
"""

import base64
import io
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

PHONE, DESK = 390, 1280
HEIGHT = 900
SMALLEST_TEXT_PX = 10.0
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--hide-scrollbars", "--force-color-profile=srgb"),
)
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
DRIVER = "chromedriver"
DRAWN_PIXELS, DRAWN_FRACTION = 25, 1e-3
"""A picture is drawn where so many of its pixels, and so large a part, are not its background."""
FOCUS_MARGIN_PX, FOCUS_PIXELS = 6, 12
INTERACTIVE = (
    "a[href], button:not([disabled]), summary, input:not([disabled]):not([type=hidden]), "
    "select:not([disabled]), textarea:not([disabled]), canvas[tabindex], "
    "[tabindex]:not([tabindex='-1'])"
)
Pixels = np.ndarray[Any, np.dtype[np.int16]]


@dataclass(frozen=True)
class Page:
    """A page as it was loaded.

    Attributes:
        driver: selenium's, which shows the page now.
        url: of the page.
        errors: what the console has at level SEVERE: errors, uncaught exceptions, failed loads.
        requests: all that the page asked for, besides itself and data: and blob: URLs.
    """

    driver: Any
    url: str
    errors: tuple[str, ...]
    requests: tuple[str, ...]


@dataclass(frozen=True)
class Figure:
    """A `<figure>`: its size (CSS pixels), and what is seen of its picture.

    Attributes:
        caption: text of its figcaption.
        kind: svg, canvas or img, the largest one; '' where there is none.
        width, height: of the figure.
        colours: distinct colours in the picture.
        off_background: pixels of another colour than the most frequent one.
        drawn: whether these are enough for a picture.
    """

    caption: str
    kind: str
    width: float
    height: float
    colours: int
    off_background: int
    drawn: bool


def program() -> str | None:
    """The browser, where it, its driver and selenium are there."""
    found = next(filter(None, map(shutil.which, PROGRAMS)), None)
    return found if shutil.which(DRIVER) else None


@contextmanager
def browser(folder: Path) -> Iterator[Any]:
    """A browser with an empty profile in `folder`; selenium's driver."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = program() or PROGRAMS[0]
    for flag in (*FLAGS, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(executable_path=shutil.which(DRIVER))
    driver = webdriver.Chrome(options=options, service=service)
    try:
        yield driver
    finally:
        driver.quit()


def load(
    driver: Any,
    path: Path,
    *,
    width: int = DESK,
    dark: bool = False,
    printed: bool = False,
    javascript: bool = True,
) -> Page:
    """Show a file as a window of this width would, on screen or paper, in light or dark colours."""
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    driver.get("about:blank")
    metrics = {"width": width, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    media = {"media": "print" if printed else "screen", "features": [scheme]}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not javascript})
    for kind in ("browser", "performance"):
        driver.get_log(kind)  # forgets what was before
    url = path.resolve().as_uri()
    driver.get(url)
    if javascript:
        _settle(driver)
    return Page(driver, url, _errors(driver), _requests(driver, url))


def later(page: Page) -> Page:
    """The same page, with the errors and requests since `load` (after clicks and the like)."""
    return Page(page.driver, page.url, _errors(page.driver), _requests(page.driver, page.url))


def ask(page: Page, function: str, *arguments: Any) -> Any:
    """The JSON value of a JavaScript function of the arguments, also where scripts are off."""
    return _evaluate(page.driver, f"({function})(...{json.dumps(arguments)})")


def screenshot(page: Page, to: Path | None = None) -> bytes:
    """The whole page as PNG."""
    size = ask(
        page,
        "() => { const e = document.documentElement; return [e.scrollWidth, e.scrollHeight]; }",
    )
    content = _capture(page, (0.0, 0.0, float(size[0]), float(size[1])))
    if to is not None:
        to.write_bytes(content)
    return content


def figures(page: Page) -> list[Figure]:
    """All figures of the page, in their order."""
    return [_figure(page, found) for found in ask(page, _FIGURES)]


def undrawn(page: Page) -> list[str]:
    """Figures without a visible picture."""
    return [
        f"figure {number} ({one.caption[:60] or 'no caption'}): "
        + (f"its {one.kind} is blank" if one.kind else "it has no svg, canvas or img")
        for number, one in enumerate(figures(page), start=1)
        if not one.drawn
    ]


def overflow(page: Page) -> list[str]:
    """What makes the page wider than its window."""
    return [str(line) for line in ask(page, _OVERFLOW)]


def small_text(page: Page, *, smallest_px: float = SMALLEST_TEXT_PX) -> list[str]:
    """Visible text outside of figures that is smaller than this."""
    return [str(line) for line in ask(page, _SMALL_TEXT, smallest_px)]


def accessibility(page: Page) -> list[str]:
    """Captions, names, headings, language, table headers."""
    return [str(line) for line in ask(page, _ACCESSIBILITY)]


def problems(page: Page) -> list[str]:
    """Errors, requests, blank figures, overflow, small text, accessibility; not the keyboard."""
    return [
        *(f"console: {error}" for error in page.errors),
        *(f"it asks for {url}" for url in page.requests),
        *undrawn(page),
        *overflow(page),
        *small_text(page),
        *accessibility(page),
    ]


def keyboard(page: Page) -> list[str]:
    """Interactive elements that Tab does not reach, or whose focus is not to be seen."""
    wanted: list[str] = ask(page, _MARK, INTERACTIVE)
    boxes: dict[int, Sequence[float]] = {}
    focused: dict[int, Pixels] = {}
    for _ in range(2 * len(wanted) + 10):
        for kind in ("rawKeyDown", "keyUp"):
            key = {"type": kind, "key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9}
            page.driver.execute_cdp_cmd("Input.dispatchKeyEvent", key)
        index, box = ask(page, _FOCUS, FOCUS_MARGIN_PX)
        if index in focused:
            break
        if index is not None:
            boxes[index], focused[index] = box, _pixels(_capture(page, box))
    ask(page, "() => document.activeElement.blur()")
    faults = []
    for index, name in enumerate(wanted):
        if index not in focused:
            faults.append(f"{name}: Tab does not reach it")
            continue
        change = _difference(focused[index], _pixels(_capture(page, boxes[index])))
        if change < FOCUS_PIXELS:
            faults.append(f"{name}: its focus cannot be seen ({change} pixels change)")
    return faults


def _figure(page: Page, found: Mapping[str, Any]) -> Figure:
    colours = off = 0
    area = 1.0
    if found["kind"] and min(found["box"][2:]) >= 1:
        pixels = _pixels(_capture(page, found["box"])).reshape(-1, 3)
        area = float(len(pixels))
        different, counts = np.unique(pixels, axis=0, return_counts=True)
        background = different[counts.argmax()]
        colours = len(different)
        off = int((np.abs(pixels - background).max(axis=1) > 16).sum())
    return Figure(
        caption=found["caption"],
        kind=found["kind"],
        width=found["width"],
        height=found["height"],
        colours=colours,
        off_background=off,
        drawn=off >= DRAWN_PIXELS and off >= DRAWN_FRACTION * area,
    )


def _capture(page: Page, box: Sequence[float]) -> bytes:
    """PNG of a part of the page: left, top, width, height in CSS pixels from the page's corner."""
    left, top, width, height = box
    clip = {"x": left, "y": top, "width": max(width, 1), "height": max(height, 1), "scale": 1}
    shot = page.driver.execute_cdp_cmd(
        "Page.captureScreenshot", {"format": "png", "clip": clip, "captureBeyondViewport": True}
    )
    return base64.b64decode(shot["data"])


def _pixels(png: bytes) -> Pixels:
    """(height, width, 3) red, green, blue."""
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB"), dtype=np.int16)


def _difference(one: Pixels, other: Pixels) -> int:
    """How many pixels differ to the eye."""
    if one.shape != other.shape:
        return max(one.size, other.size)
    return int((np.abs(one - other).max(axis=2) > 16).sum())


def _settle(driver: Any) -> None:
    """Wait for fonts, and two frames; without scripts no promise comes true, and none is needed."""
    _evaluate(
        driver,
        "Promise.race([new Promise(f => setTimeout(f, 300)), document.fonts.ready.then(() =>"
        " new Promise(f => requestAnimationFrame(() => requestAnimationFrame(f))))])"
        ".then(() => true)",
    )


def _evaluate(driver: Any, expression: str) -> Any:
    given = {"expression": expression, "returnByValue": True, "awaitPromise": True}
    result = driver.execute_cdp_cmd("Runtime.evaluate", given)
    if "exceptionDetails" in result:
        raise AssertionError(f"a check failed in the browser: {result['exceptionDetails']}")
    return result["result"].get("value")


def _errors(driver: Any) -> tuple[str, ...]:
    entries = driver.get_log("browser")
    return tuple(entry["message"] for entry in entries if entry["level"] == "SEVERE")


def _requests(driver: Any, url: str) -> tuple[str, ...]:
    found = []
    for entry in driver.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            found.append(message["params"]["request"]["url"])
        elif message["method"] == "Network.webSocketCreated":
            found.append(message["params"]["url"])
    ours = ("data:", "blob:", "about:")
    return tuple(one for one in found if one.partition("#")[0] != url and not one.startswith(ours))


# Functions that run in the page. Sizes are CSS pixels from the page's corner.

_FIGURES = """() => [...document.querySelectorAll('figure')].map(figure => {
  const size = e => e.getBoundingClientRect().width * e.getBoundingClientRect().height;
  const pictures = [...figure.querySelectorAll('svg, canvas, img')].sort((a, b) =>
    size(b) - size(a));
  const outer = figure.getBoundingClientRect(), caption = figure.querySelector('figcaption');
  const found = {caption: caption ? caption.textContent.trim() : '', kind: '', box: [0, 0, 0, 0],
                 width: outer.width, height: outer.height};
  if (!pictures.length) return found;
  const one = pictures[0], r = one.getBoundingClientRect(), s = getComputedStyle(one);
  const px = (name, side) => parseFloat(s[name + side]) || 0;
  const edge = side => parseFloat(s['border' + side + 'Width']) + px('padding', side);
  found.kind = one.tagName.toLowerCase();
  found.box = [r.left + scrollX + edge('Left'), r.top + scrollY + edge('Top'),
               r.width - edge('Left') - edge('Right'), r.height - edge('Top') - edge('Bottom')];
  return found;
})"""

_OVERFLOW = """() => {
  const root = document.documentElement;
  if (root.scrollWidth <= innerWidth) return [];
  const wide = [...document.body.querySelectorAll('*')].filter(e =>
    e.getBoundingClientRect().right + scrollX > innerWidth + 1);
  const names = wide.slice(0, 5).map(e => '<' + e.tagName.toLowerCase() + '>' +
    (e.id ? ' #' + e.id : ''));
  return [`the page is ${root.scrollWidth} px wide in a window of ${innerWidth}: ${names}`];
}"""

_SMALL_TEXT = """(smallest) => {
  const faults = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim(), e = walker.currentNode.parentElement;
    if (!text || e.closest('figure, script, style, noscript, template')) continue;
    if (!e.checkVisibility() || !e.getClientRects().length) continue;
    const size = parseFloat(getComputedStyle(e).fontSize);
    if (size < smallest) faults.add(`text of ${size} px: ${text.slice(0, 60)}`);
  }
  return [...faults];
}"""

_ACCESSIBILITY = """() => {
  const faults = [], all = name => [...document.querySelectorAll(name)];
  const said = e => e ? e.textContent.trim() : '';
  const name = e => (e.getAttribute('aria-label') || '').trim()
    || (e.getAttribute('aria-labelledby') || '').split(/\\s+/).filter(x => x)
      .map(id => said(document.getElementById(id))).join('')
    || (e.getAttribute('alt') || '').trim()
    || said(e.querySelector(':scope > title')) || (e.getAttribute('title') || '').trim();
  if (!document.documentElement.lang) faults.push('html has no lang');
  if (!document.title.trim()) faults.push('the page has no title');
  const ones = all('h1').length;
  if (ones !== 1) faults.push(`${ones} h1 instead of one`);
  let last = 0;
  for (const h of all('h1, h2, h3, h4, h5, h6')) {
    const level = Number(h.tagName[1]);
    if (level > last + 1) faults.push(`h${level} after h${last}: ${said(h).slice(0, 60)}`);
    last = level;
  }
  all('figure').forEach((e, i) => {
    if (!said(e.querySelector('figcaption'))) faults.push(`figure ${i + 1} has no caption`);
  });
  for (const e of all('svg, canvas, img')) {
    const kind = e.tagName.toLowerCase();
    if (e.parentElement.closest('svg')) continue;
    const hidden = e.closest('[aria-hidden=true]') || (kind === 'img' && e.alt === '' &&
      e.hasAttribute('alt'));
    if (hidden && !e.closest('figure')) continue;
    if (!name(e)) faults.push(`${kind} has no name: ${e.outerHTML.slice(0, 60)}`);
  }
  all('table').forEach((e, i) => {
    if (!e.querySelector('th')) faults.push(`table ${i + 1} has no th`);
  });
  for (const e of all('a[href], button, summary')) {
    if (!said(e) && !name(e)) faults.push(`${e.tagName.toLowerCase()} has no name`);
  }
  for (const e of all('input:not([type=hidden]), select, textarea')) {
    if (!(e.labels && e.labels.length) && !name(e)) faults.push('an input has no label');
  }
  return faults;
}"""

# A caret alone is no visible focus, and it blinks. Of radio buttons Tab reaches one of each name.
_MARK = """(selector) => {
  const style = document.createElement('style');
  style.textContent = '* { caret-color: transparent !important; transition: none !important; }';
  document.head.append(style);
  const radios = new Set();
  window.wantedByTab = [...document.querySelectorAll(selector)].filter(e => {
    const box = e.getBoundingClientRect();  // empty: a canvas, where scripts are off
    if (!e.checkVisibility({visibilityProperty: true}) || !box.width || !box.height) return false;
    if (e.type !== 'radio') return true;
    const seen = radios.has(e.name);
    radios.add(e.name);
    return !seen;
  });
  if (document.activeElement) document.activeElement.blur();
  return window.wantedByTab.map(e => '<' + e.tagName.toLowerCase() + '> '
    + (e.textContent.trim() || e.getAttribute('aria-label') || e.id || '').slice(0, 40));
}"""

_FOCUS = """(margin) => {
  const e = document.activeElement;
  let index = window.wantedByTab.indexOf(e);
  if (index < 0 && e && e.type === 'radio')
    index = window.wantedByTab.findIndex(x => x.type === 'radio' && x.name === e.name);
  if (index < 0) return [null, null];
  const r = e.getBoundingClientRect();
  const left = Math.max(0, r.left + scrollX - margin), top = Math.max(0, r.top + scrollY - margin);
  return [index, [left, top, r.width + 2 * margin, r.height + 2 * margin]];
}"""
