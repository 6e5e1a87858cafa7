"""The report in a real browser: nothing from elsewhere, every figure drawn, phone to paper.

The campaign is the recorded MIL-53(Al) one (tests/data/README.md); one with failures and one that
has only bootstrapped are made of it.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from helpers import browser
from helpers.needs import require
from helpers.recorded import RECORDED, only_bootstrap, rewrite, with_failures
from phasewalk.report import page as report
from phasewalk.status import history
from phasewalk.store.records import Record

pytestmark = [pytest.mark.engine, pytest.mark.slow]
KINDS: dict[str, Callable[[Sequence[Record]], Sequence[Record]]] = {
    "whole": lambda records: records,
    "failures": with_failures,
    "bootstrap": only_bootstrap,
}


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    require("browser")
    with browser.browser(tmp_path_factory.mktemp("browser")) as found:
        yield found


@pytest.fixture(scope="module", params=KINDS)
def page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp(request.param) / "campaign.run"
    copytree(RECORDED, root)
    rewrite(root, KINDS[request.param])
    return report.write(history.read(root))


@pytest.mark.parametrize("width", [browser.PHONE, browser.DESK])
@pytest.mark.parametrize("dark", [False, True])
def test_it_is_whole(driver: Any, page: Path, width: int, dark: bool) -> None:
    """No console error, no request, every figure drawn, nothing wider than the window."""
    shown = browser.load(driver, page, width=width, dark=dark)
    assert shown.errors == ()
    assert shown.requests == ()
    assert [*browser.problems(shown), *browser.overflow(shown)] == []
    assert len(browser.figures(shown)) > 0
    assert len(browser.screenshot(shown)) > 10_000


def test_it_is_read_without_javascript(driver: Any, page: Path) -> None:
    shown = browser.load(driver, page, width=browser.PHONE, javascript=False)
    assert browser.problems(shown) == []


def test_it_is_printed(driver: Any, page: Path) -> None:
    shown = browser.load(driver, page, width=794, printed=True)
    assert [*browser.undrawn(shown), *browser.overflow(shown)] == []


def test_it_is_used_by_the_keyboard(driver: Any, page: Path) -> None:
    assert browser.keyboard(browser.load(driver, page, width=browser.DESK)) == []


def test_frames_turn_and_change(driver: Any, tmp_path: Path) -> None:
    """The picture in 3-D follows keys, buttons and the choice of a frame."""
    page = report.write(history.read(RECORDED), tmp_path / "report.html")
    shown = browser.load(driver, page, width=browser.DESK)

    def picture() -> str:
        return str(browser.ask(shown, "() => document.getElementById('scene').toDataURL()"))

    seen = [picture()]
    for action in (
        "() => scene.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowLeft'}))",
        "() => document.getElementById('in').click()",
        "() => { choice.selectedIndex = 0; choice.dispatchEvent(new Event('change')); }",
    ):
        browser.ask(shown, action)
        seen.append(picture())
    assert len(set(seen)) == len(seen)
    titles = browser.ask(shown, "() => [...choice.options].map(option => option.text)")
    assert titles[0] == "mil53_al-0, before round 1"
    assert browser.later(shown).errors == ()
