"""The browser that looks at reports: a good page passes, and faults of a bad one are found.

A part of them; all in `make test-long`, since this is the helper's own test.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from helpers import browser

pytestmark = pytest.mark.engine("browser")

STYLE = """
body { font: 16px sans-serif; margin: 1em; background: #fff; color: #222; }
svg, canvas, img { max-width: 100%; }
@media (prefers-color-scheme: dark) { body { background: #101010; color: #eee; } }
@media print { nav { display: none; } }
"""
SVG = (
    '<svg role="img" aria-label="a line" width="300" height="100" viewBox="0 0 300 100">'
    '<path d="M10 90 L150 20 L290 60" stroke="#06c" stroke-width="3" fill="none"/></svg>'
)
CANVAS = '<canvas id="c" tabindex="0" aria-label="dots" width="200" height="80"></canvas>'
DRAW = (
    "const g = document.getElementById('c').getContext('2d'); g.fillStyle = '#c00';"
    "g.fillRect(20, 20, 60, 30);"
)
PIXEL = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' width='60' height='40'%3E"
    "%3Crect width='30' height='40' fill='green'/%3E%3C/svg%3E"
)
BODY = f"""
<nav><a href="#two">to the table</a></nav>
<h1>A page</h1>
<figure id="one">{SVG}<figcaption>A line.</figcaption></figure>
<figure>{CANVAS}<figcaption>Dots.</figcaption></figure>
<figure><img alt="half green" src="{PIXEL}"><figcaption>A picture.</figcaption></figure>
<h2 id="two">A table</h2>
<table><tr><th>round</th><th>error</th></tr><tr><td>1</td><td>2</td></tr></table>
<h3>More</h3>
<button>press</button>
<label>find <input id="find"></label>
<label><input type="radio" name="r" checked>a</label><label><input type="radio" name="r">b</label>
<details><summary>inside</summary><a href="#one">hidden link</a></details>
<h2>End</h2>
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with browser.browser(tmp_path_factory.mktemp("browser")) as found:
        yield found


@pytest.fixture
def show(driver: Any, tmp_path: Path) -> Callable[..., browser.Page]:
    """`show(body)`: a page with this body."""

    def write(
        body: str = BODY,
        *,
        style: str = STYLE,
        script: str = DRAW,
        head: str = '<html lang="en">',
        title: str = "A page",
        **how: Any,
    ) -> browser.Page:
        path = tmp_path / "page with a blank.html"
        path.write_text(
            f'<!doctype html>{head}<head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width">'
            f"<title>{title}</title><style>{style}</style></head>"
            f"<body>{body}<script>{script}</script></body></html>"
        )
        return browser.load(driver, path, **how)

    return write


Show = Callable[..., browser.Page]


def sampled(cases: Sequence[Any], stride: int) -> list[Any]:
    """All cases; but for every so many of them in `make test-long` alone."""
    return [
        case
        if number % stride == 0
        else pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.long)
        for number, case in enumerate(cases)
    ]


@pytest.mark.parametrize("width", [browser.PHONE, browser.DESK])
@pytest.mark.parametrize("dark", [False, True])
def test_a_good_page(show: Show, width: int, dark: bool) -> None:
    page = show(width=width, dark=dark)
    assert browser.problems(page) == []
    assert browser.keyboard(page) == []
    assert browser.ask(page, "() => innerWidth") == width


def test_what_figures_are(show: Show) -> None:
    one, two, three = browser.figures(show())
    assert (one.kind, two.kind, three.kind) == ("svg", "canvas", "img")
    assert (one.caption, two.caption, three.caption) == ("A line.", "Dots.", "A picture.")
    assert two.off_background == 60 * 30
    assert two.colours == 2
    assert three.off_background == 30 * 40
    assert one.height > 100
    assert one.colours > 2  # its edges are smooth
    assert one.width > 1000


@pytest.mark.long
def test_dark_and_paper_and_screenshots(show: Show, tmp_path: Path) -> None:
    ground = "() => getComputedStyle(document.body).backgroundColor"
    nav = "() => getComputedStyle(document.querySelector('nav')).display"
    assert browser.ask(show(dark=True), ground) == "rgb(16, 16, 16)"
    page = show(dark=False)
    assert browser.ask(page, ground) == "rgb(255, 255, 255)"
    assert browser.ask(page, nav) == "block"
    assert browser.ask(show(printed=True), nav) == "none"
    tall = show(BODY + '<div style="height: 2000px; background: #06c"></div>', width=browser.PHONE)
    browser.screenshot(tall, tmp_path / "page.png")
    pixels = browser._pixels((tmp_path / "page.png").read_bytes())
    assert pixels.shape[0] > 2400
    assert pixels.shape[1] == browser.PHONE
    assert pixels[-60, 100].tolist() == [0, 0x66, 0xCC]  # beyond the window, too


def test_without_scripts(show: Show) -> None:
    """A canvas that a script draws stays blank; all checks still answer."""
    page = show(javascript=False)
    assert browser.problems(page) == ["figure 2 (Dots.): its canvas is blank"]
    assert browser.keyboard(page) == []
    assert browser.problems(show()) == []


@pytest.mark.parametrize(
    ("script", "words"),
    sampled(
        [
            ("throw new Error('no such hill');", "no such hill"),
            ("console.error('a bad thing');", "a bad thing"),
            ("Promise.reject(new Error('later'));", "later"),
            ("setTimeout(() => nothing.at.all, 0);", "nothing is not defined"),
        ],
        4,
    ),
)
def test_errors_of_scripts(show: Show, script: str, words: str) -> None:
    page = show(script=f"{DRAW}\n{script}")
    assert [words in error for error in page.errors] == [True]
    assert words in browser.problems(page)[0]
    assert show(script=f"{DRAW} console.log('a word'); console.warn('careful');").errors == ()


@pytest.mark.long
def test_errors_after_a_click(show: Show) -> None:
    page = show(script=f"{DRAW} document.querySelector('button').onclick = () => missing();")
    assert page.errors == ()
    browser.ask(page, "() => setTimeout(() => document.querySelector('button').click(), 0) && 0")
    browser.ask(page, "() => new Promise(f => setTimeout(() => f(1), 50))")
    assert "missing is not defined" in browser.later(page).errors[0]


@pytest.mark.parametrize(
    "more",
    sampled(
        [
            '<img alt="x" src="other.png">',
            '<link rel="stylesheet" href="style.css">',
            '<script src="http://127.0.0.1:9/x.js"></script>',
            "<script>fetch('http://127.0.0.1:9/y').catch(() => 0)</script>",
            "<script>new WebSocket('ws://127.0.0.1:9/')</script>",
            "<style>@font-face { font-family: q; src: url('http://127.0.0.1:9/f.woff2') }"
            " h1 { font-family: q }</style>",
        ],
        6,
    ),
)
def test_requests(show: Show, more: str) -> None:
    page = show(BODY + more)
    assert len(page.requests) == 1
    assert page.requests[0].startswith(("file://", "http://127.0.0.1:9/", "ws://127.0.0.1:9/"))
    assert f"it asks for {page.requests[0]}" in browser.problems(page)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    sampled(
        [
            (DRAW, "", "figure 2 (Dots.): its canvas is blank"),
            ('id="c"', 'id="c" style="border: 5px solid red"', None),  # a frame is no picture, but:
            ('stroke="#06c"', 'stroke="#fff"', "figure 1 (A line.): its svg is blank"),
            ('stroke-width="3"', 'stroke-width="0"', "figure 1 (A line.): its svg is blank"),
            (
                "width='30' height='40' fill='green'",
                "width='1'",
                "figure 3 (A picture.): its img is",
            ),
            (SVG, "a line", "figure 1 (A line.): it has no svg, canvas or img"),
            (
                '<figure id="one">',
                '<figure hidden id="one">',
                "figure 1 (A line.): its svg is blank",
            ),
            ("<figcaption>A line.</figcaption>", "", "figure 1 has no caption"),
            (
                "<figcaption>Dots.</figcaption>",
                "<figcaption> </figcaption>",
                "figure 2 has no caption",
            ),
            (' aria-label="a line"', "", "svg has no name"),
            (' aria-label="a line"', ' aria-labelledby="none"', "svg has no name"),
            (' aria-label="a line"', ' aria-labelledby="two"', None),
            (' aria-label="dots"', "", "canvas has no name"),
            ('alt="half green"', 'alt=""', "img has no name"),
            ("<h1>A page</h1>", "", "0 h1 instead of one"),
            ("<h2>End</h2>", "<h1>End</h1>", "2 h1 instead of one"),
            ("<h3>More</h3>", "<h4>More</h4>", "h4 after h2: More"),
            ('<html lang="en">', "<html>", "html has no lang"),
            ("<title>A page", "<title>", "the page has no title"),
            ("<th>round</th><th>error</th>", "<td>round</td><td>error</td>", "table 1 has no th"),
            ("<button>press</button>", "<button></button>", "button has no name"),
            ('<label>find <input id="find"></label>', 'find <input id="find">', "an input has no"),
            ("<h2>End", '<p style="font-size: 9.5px">tiny</p><h2>End', "text of 9.5 px: tiny"),
            ("<h2>End", '<p hidden style="font-size: 9px">tiny</p><h2>End', None),
            ("A line.", '<span style="font-size: 9px">A line.</span>', None),
            ("<h2>End", '<div id="wide" style="width: 500px">x</div><h2>End', "390: <div> #wide"),
            ("<h2>End", '<div style="overflow: auto"><p style="width: 500px">x</div><h2>End', None),
        ],
        4,
    ),
)
def test_faults(
    show: Show, driver: Any, tmp_path: Path, old: str, new: str, words: str | None
) -> None:
    show()
    path = next(tmp_path.glob("*.html"))
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    found = browser.problems(browser.load(driver, path, width=browser.PHONE))
    if words is None:
        assert found == []
    else:
        assert any(words in line for line in found), found


@pytest.mark.long
def test_a_frame_is_no_picture(show: Show) -> None:
    page = show(style=f"{STYLE} canvas {{ border: 5px solid red; padding: 3px }}", script="")
    assert browser.undrawn(page) == ["figure 2 (Dots.): its canvas is blank"]


@pytest.mark.parametrize(
    ("style", "more", "words"),
    sampled(
        [
            ("button:focus { outline: none }", "", "<button> press: its focus cannot be seen"),
            ("input:focus { outline: none }", "", "<input> find: its focus cannot be seen"),
            ("", '<a href="#x" tabindex="-1">no way</a>', "<a> no way: Tab does not reach it"),
            ("canvas:focus { outline: 2px solid #fff }", "", "<canvas> dots: its focus cannot be"),
        ],
        4,
    ),
)
def test_faults_of_the_keyboard(show: Show, style: str, more: str, words: str) -> None:
    page = show(BODY + more, style=STYLE + style)
    assert [line for line in browser.keyboard(page) if words in line] != []


@pytest.mark.long
def test_other_ways_to_show_the_focus(show: Show) -> None:
    style = f"{STYLE} button:focus {{ outline: none; background: #fc0 }}"
    assert browser.keyboard(show(style=style)) == []


@pytest.mark.long
def test_a_trap_for_the_keyboard(show: Show) -> None:
    trap = "document.querySelector('button').onkeydown = e => e.preventDefault();"
    found = browser.keyboard(show(script=f"{DRAW} {trap}"))
    assert "<input> find: Tab does not reach it" in found
