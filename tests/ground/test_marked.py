"""The parts of a file that begin with a mark."""

import io
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from phasewalk import files

MARK = b"ab\n"


@given(st.text("abc\n", max_size=60), st.integers(1, 9), st.integers(0, 20))
def test_parts_are_the_whole_file_cut_at_each_mark(text: str, block: int, start: int) -> None:
    content = text.encode()
    with mock.patch.object(files, "_BLOCK", block):
        found = list(files.marked(io.BytesIO(content), MARK, start))
    assert b"".join(part for _, part in found) == content[start:]
    assert all(content[at : at + len(part)] == part for at, part in found)
    first, *later = [part for _, part in found] or [b""]
    assert all(part.startswith(MARK) for part in later)
    assert all(MARK not in part[1:] for part in (first, *later))
