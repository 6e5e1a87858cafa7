"""The bonds that each system of a campaign must keep."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..errors import InputError
from ..structures import Guard, bonds

if TYPE_CHECKING:
    from .inputs import Campaign


def of(campaign: "Campaign") -> dict[str, Guard]:
    """The bonds of each system that must not change; without systems whose bonds are free.

    Raises:
        InputError: `bonds_left_out` names atoms or elements that a structure does not have.
    """
    segment, found = campaign.settings.segment, {}
    for name, system in campaign.settings.systems.items():
        if system.bonds == "free":
            continue
        try:
            found[name] = bonds.guard(
                campaign.structures[name],
                left_out=system.bonds_left_out,
                break_ratio=segment.max_bond_stretch,
                form_ratio=segment.new_bond_fraction,
            )
        except InputError as error:
            place = f"{campaign.path}: systems.{name}.bonds_left_out"
            raise InputError(f"{place}: {error}") from error
    return found


def in_words(campaign: "Campaign") -> dict[str, str]:
    """What is checked in each system, and how many given labels have other bonds."""
    found = of(campaign)
    told = {}
    for name in campaign.settings.systems:
        if name not in found:
            told[name] = "free: they may change"
            continue
        texts = [described(found[name])]
        for where, given in (("initial_data", campaign.initial), ("test_data", campaign.test_data)):
            mine = [one for one in given if tuple(one.atoms.symbols) == found[name].symbols]
            other = sum(found[name].fault(one.atoms) is not None for one in mine)
            texts += [f"{other} of {len(mine)} frames of {where} have other bonds"] * bool(other)
        if not campaign.settings.segment.sentinel:
            texts += [
                "segment.sentinel: false, so no walker stops, but such frames are not labelled"
            ]
        told[name] = "; ".join(texts)
    return told


def described(guard: Guard) -> str:
    """What is checked, as one line of text."""
    counts = guard.counts()
    told = [_bonds(guard, pair, count) for pair, count in counts.items()]
    near = {pair: limit for pair, limit in guard.near.items() if pair not in guard.bonding}
    if told:
        stretch = f"a walker stops if one is longer than {guard.break_ratio:g} × that"
        text = f"{', '.join(told)}; {stretch}, or a new one forms"
    else:
        text = "no covalent bonds (a salt or a metal)"
    if not counts and near:
        text += f"; a walker stops if pairs are closer than {_distances(near)}"
    if not counts and guard.bonding:
        text += "; or if new bonds form" if near else "; a walker stops if new bonds form"
    out = [f"{len(guard.free)} atoms left out"] * bool(guard.free)
    return "; ".join([text, *out])


def _bonds(guard: Guard, pair: tuple[str, str], count: int) -> str:
    shown = dict.fromkeys(f"{length:.2f}" for length in guard.lengths(pair))
    return f"{count} {pair[0]}–{pair[1]} ({' to '.join(shown)} Å)"


def _distances(near: Mapping[tuple[str, str], float]) -> str:
    return ", ".join(f"{one}–{other} {limit:.2f} Å" for (one, other), limit in near.items())
