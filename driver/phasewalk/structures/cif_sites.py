"""Strict check of the elements of CIF sites."""

import re
from collections.abc import Iterable, Sequence

from ase.data import atomic_numbers

from ..errors import InputError, brief

_TYPE = re.compile(r"([A-Z][a-z]?)(\d*\.?\d*[+-]|[+-]\d*\.?\d*|\([IV0]+\))?")
"""An element with an optional charge: Cu, Fe3+, O2-, Na0+, Fe(III)."""
_LABEL = re.compile(r"([A-Z][a-z]?)(?![a-zA-Z])(?!-[A-Z])([\w'\"*^#()-]*)")
"""An element with the rest of its site label: C12A, H1', O1W, Fe1_2, N(3), O-1."""
_SECOND = re.compile(r"[0-9_-]([A-Z][a-z])")
_AMOUNT = re.compile(r"([A-Z][a-z]?)(\d*\.?\d*)")


def check_elements(labels: Sequence[str], symbols: Sequence[str]) -> None:
    """Raise InputError if a site is not one element: `CU`, `Fe/Mg`, `H2O`.

    Args:
        labels: of the sites.
        symbols: their types; empty if the file has only labels.
    """
    for label, written in zip(labels, symbols or labels, strict=False):
        found = _element(written, named=not symbols)
        if found != "D" and atomic_numbers.get(found or "", 0) < 1:
            raise InputError(
                brief(
                    f"the element of site {label} is ambiguous (found {written!r}); write its "
                    "symbol, for example Cu, in _atom_site_type_symbol"
                )
            )


def _element(written: str, *, named: bool) -> str | None:
    """The element of a type, or of a label if sites have no types; None if it is not one."""
    found = _TYPE.fullmatch(written)
    if found is None and named:
        found = _LABEL.fullmatch(written)
        rest = _SECOND.findall(found[2]) if found else []
        if any(second in atomic_numbers for second in rest):
            return None
    return found[1] if found else None


def check_formula(formula: str, elements: Iterable[str]) -> None:
    """Raise InputError if an element of the formula, often hydrogen, has no site.

    Args:
        formula: `_chemical_formula_sum`; ignored if it has another format.
        elements: of the sites.
    """
    amounts = [_AMOUNT.fullmatch(word) for word in formula.split()]
    there = {"H" if element == "D" else element for element in elements}
    for amount in amounts if all(amounts) else ():
        if amount is None or not float(amount[2].strip(".") or 1):
            continue
        element = "H" if amount[1] == "D" else amount[1]
        if element in atomic_numbers and element not in there:
            raise InputError(
                brief(
                    f"its formula ({formula}) contains {element}, but there is no {element} site; "
                    "add these atoms or correct _chemical_formula_sum"
                )
            )
