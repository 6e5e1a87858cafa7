"""The sentinel's limits: the plugin, the decks and the documentation agree on them."""

import re

from helpers.fakes import ROOT
from phasewalk.walkers import limits

TABLE = re.compile(r'\{"(\w+)", &Limits::\w+, &State::\w+, Forbids::\w+\}')


def test_the_plugin_knows_these_limits() -> None:
    known = TABLE.findall((ROOT / "cmake/plugin/breakdown.h").read_text())
    assert list(dict.fromkeys(known)) == [one.keyword for one in limits.LIMITS]


def test_each_reason_is_documented_with_its_unit() -> None:
    text = (ROOT / "docs/status-json.md").read_text()
    for one in limits.LIMITS:
        assert f"`{one.keyword}` ({one.unit})" in text
    for reason in limits.OTHERS:
        assert f"`{reason}`" in text


def test_each_stop_in_words() -> None:
    found = {
        reason: limits.in_words(reason, value=61.5, limit=50.0, says="it {says} so")
        for reason in (*(one.keyword for one in limits.LIMITS), *limits.OTHERS, "of tomorrow")
    }
    assert len(set(found.values())) == len(found)
    assert found["force"] == "a force of 61.5 eV/Å (limit 50)"
    assert found["close"] == "a pair at 61.50 × the sum of covalent radii (limit 50)"
    assert found["walltime"] == "the time limit of 50 s"
    assert found["model"] == "the model: it {says} so"
    assert found["of tomorrow"] == "of tomorrow"
