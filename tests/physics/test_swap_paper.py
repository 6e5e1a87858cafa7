"""The same as `test_swap` for the network of the paper; a file of its own, for a worker of its own.

Its AOTInductor compilations take two minutes each.
"""

from __future__ import annotations

from pathlib import Path

import physics_swapping as swapping
import pytest
from physics_training import Recipe, Workshop

from phasewalk.engines.discovery import Engines

pytestmark = [
    pytest.mark.engine,
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.timeout(1200),
]


@pytest.mark.parametrize("mode", ["torchscript", "aotinductor"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_swapped_is_compiled(
    workshop: Workshop, engines: Engines, tmp_path: Path, mode: str, dtype: str
) -> None:
    recipe = Recipe(preset="paper", dtype=dtype, epochs=2)
    swapping.assert_swapped_is_compiled(recipe, mode, workshop, engines, tmp_path)
