"""The table of hills of one round, and the record that many of them are."""

from dataclasses import replace

import pytest

from phasewalk.bias import hill_tables
from phasewalk.bias import hills as bias
from phasewalk.bias.hill_tables import HillsTable, Mark
from phasewalk.bias.hills import Cut, Hill, HillsRecord
from phasewalk.errors import ParseError

HEADERS = {"m": ("#! FIELDS time v sigma_v height biasf",)}


def hill(walker: str, round_: int, step: int, *, action: str = "m") -> Hill:
    return Hill("s", action, walker, round_, step, 0, True, f" {step} 1 0.5 2 -1")


def laid(*hills: Hill) -> HillsRecord:
    return bias.merge(HillsRecord("s"), hills, headers=HEADERS)


TABLE = HillsTable(
    laid=laid(hill("a", 2, 30), hill("b", 2, 30)),
    earlier=2,
    cuts=(Cut("a", 1, 10), Cut("b", 1, 0)),
    began={"m": Mark(70, "0f"), "a.m": Mark(7, "1e")},
    apart=True,
)


def test_a_table_is_the_same_after_writing_and_reading() -> None:
    for table in (TABLE, replace(TABLE, cuts=(), began={}, apart=False), HillsTable(laid())):
        assert hill_tables.from_text(hill_tables.to_text(table), path="t") == table


def test_a_table_of_version_1_is_the_whole_record() -> None:
    text = bias.record_to_text(TABLE.laid)
    assert hill_tables.from_text(text, path="t") == HillsTable(TABLE.laid, whole=True)


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("# phasewalk hills 2", "# phasewalk hills 3", 1),
        ("# earlier\t2", "# earlier\t-2", 3),
        ("# earlier\t2\n", "", 3),
        ("# inactive\ta\t1\t10", "# inactive\ta\t1", 4),
        ("# inactive\ta\t1\t10", "# inactive\ta\t1\tx", 4),
        ("# kept\tapart", "# kept\talone", 6),
        ("# history\tm\t70\t0f", "# history\tm\t70", 8),
        ("\ta\t2\t30\t0\t1\t", "\ta\t2\t30\t0\t7\t", 11),
    ],
)
def test_a_damaged_table_is_named_by_line(old: str, new: str, line: int) -> None:
    text = hill_tables.to_text(TABLE)
    assert old in text
    with pytest.raises(ParseError) as error:
        hill_tables.from_text(text.replace(old, new, 1), path="round-002.tsv")
    assert error.value.line == line


def test_the_record_is_that_of_all_rounds_from_the_last_whole_one_on() -> None:
    old = HillsTable(laid(hill("a", 1, 10), hill("a", 1, 20), hill("b", 1, 10)), whole=True)
    new = HillsTable(laid(hill("a", 3, 50)), earlier=5)

    def never() -> HillsTable:
        raise AssertionError("a table from before a whole one was read")

    found = hill_tables.record(one() for one in (lambda: new, lambda: TABLE, lambda: old, never))
    assert found is not None
    assert [(h.round, h.step, h.walker, h.active) for h in found.hills] == [
        (1, 10, "a", True), (1, 10, "b", False), (1, 20, "a", False),
        (2, 30, "a", True), (2, 30, "b", True), (3, 50, "a", True),
    ]  # fmt: skip
    assert hill_tables.record([]) is None


def test_hills_of_two_actions_are_sorted_as_in_one_table() -> None:
    parts = [laid(hill("a", n, 10 * n), hill("a", n, 10 * n, action="k")) for n in (1, 2)]
    found = hill_tables.record([HillsTable(parts[1], earlier=2), HillsTable(parts[0])])
    assert found == bias.merge(parts[0], parts[1].hills, headers={})
