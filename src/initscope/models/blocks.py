"""Find the residual blocks of a model, and which roles the weights in them have."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

from torch import nn

from initscope.errors import UsageError
from initscope.models.architectures import (
    BRANCH_LISTS,
    EXPERT_ROLES,
    INTERLEAVED_EXPERTS,
    OWN_ROLES,
    UnitRange,
    block_roles,
)
from initscope.models.places import ADAPTER, Geometry, Part, Place, Position

__all__: list[str] = []  # for this package alone

BRANCH_ENDS = ("attention_out", "mlp_out")

Block = tuple[str, ...]


class _Site(NamedTuple):
    """A weight on its way to a role."""

    path: list[str]
    parts: tuple[Part, ...]
    reason: str
    stands_in: bool = False  # for another of that role

    @property
    def role(self) -> str:
        return self.parts[0][0]


def _site(place: Place, modules: dict[str, nn.Module]) -> _Site:
    """Return a layer's path and the roles that its name tells."""
    path = _by_block(place.path)
    if any(part in ADAPTER for part in path):
        return _Site(path, place.parts, "")
    owner = place.name.rpartition(".")[0]
    attributes = place.attribute in ("weight", "original")
    parent = modules[owner.rpartition(".")[0]] if attributes and owner else place.module
    numbers = [k for k, part in enumerate(path) if part.isdecimal()]
    within = path[numbers[0] + 1 :] if numbers else path[-2:]
    if not within:
        return _Site(path, place.parts, "")
    leaf = path[-1]
    if isinstance(parent, nn.MultiheadAttention) or (
        leaf in ("c_attn", "c_proj") and "att" in "".join(path[-2:-1])
    ):
        within = ["attention", *within]
    if leaf == "out_proj" and hasattr(parent, "A_log"):
        return _Site(path, (("attention_out", None),), "", stands_in=True)  # a state space
    expert = [role for role, names in EXPERT_ROLES.items() if leaf in names]
    if expert and "expert" in ".".join((*path, type(place.module).__name__)).lower():
        if any("attention" in part or "attn" in part for part in within):
            expert = ["attention_out" if expert == ["mlp_out"] else "q"]
        return _Site(path, ((expert[0], None),), "")
    own = OWN_ROLES.get(type(parent).__name__, {}).get(leaf)
    if own is not None:
        return _Site(path, ((own, None),), "")
    if place.separate:
        return _Site(path, place.parts, "")
    geometry = cast(Geometry, place.geometry)
    sizes = int(geometry.fan_out), int(geometry.fan_in)
    if leaf == "gate_up_proj" and type(place.module).__name__.startswith(INTERLEAVED_EXPERTS):
        half = sizes[0] // 2
        alternate = ("mlp_gate", UnitRange(half, 0, 1)), ("mlp_in", UnitRange(half, 1, 1))
        return _Site(path, alternate, "")
    try:
        parts = block_roles(parent, path, within, *sizes)
    except UsageError as error:
        return _Site(path, place.parts, str(error))
    covered = sum(units.groups * units.length for _, units in parts if units is not None)
    if covered not in (0, sizes[0]) or (len(parts) > 1 and not covered):
        return _Site(path, place.parts, "")
    return _Site(path, tuple(parts), "")


def _by_block(path: list[str]) -> list[str]:
    """Return the path as if a list of one branch of every block were a list of blocks."""
    if len(path) >= 3 and path[-3] in BRANCH_LISTS and path[-2].isdecimal():
        return [*path[:-3], "blocks", path[-2], BRANCH_LISTS[path[-3]], path[-1]]
    return path


def _block_of(path: Sequence[str], ends: dict[Block, set[str]]) -> Block:
    """Return the block that the end of a branch is in.

    The innermost numbered module that holds the ends of both kinds: the numbers of experts and of
    parts of a block count no blocks, those of the stages of a pyramid not either.
    """
    numbers = [k for k, part in enumerate(path) if part.isdecimal()]
    if not numbers:
        return tuple(path[:-2])
    for k in reversed(numbers):
        if len(ends[tuple(path[: k + 1])]) == 2:
            return tuple(path[: k + 1])
    return tuple(path[: numbers[0] + 1])


def add_roles(places: list[Place], modules: dict[str, nn.Module]) -> list[Place]:
    """Return the places with the roles and positions of the weights."""
    sites = {place: _site(place, modules) for place in places if place.kind in ("layer", "zero")}
    attends = any(site.role in ("q", "k", "v", "attention_out") for site in sites.values())
    known = {
        place: site
        for place, site in sites.items()
        # Without attention only the names of GPT-2 say that there is a residual stream.
        if site.role in BRANCH_ENDS and (attends or site.path[-1] == "c_proj")
    }
    ends: dict[Block, set[str]] = defaultdict(set)
    for site in known.values():
        for k in range(len(site.path)):
            ends[tuple(site.path[: k + 1])].add(site.role)
    block_of_end = {place: _block_of(site.path, ends) for place, site in known.items()}
    stacks: dict[Block, dict[Block, int]] = defaultdict(dict)  # blocks of each, by their numbers
    for block in block_of_end.values():
        stacks[block[:-1]].setdefault(block, len(stacks[block[:-1]]) + 1)
    positions = {stack: _position(stack, stacks, block_of_end, known) for stack in stacks}
    for module in modules.values():
        if type(module).__name__ == "AlbertTransformer":  # the same layers, one time after another
            config = cast(Any, module).config
            times = config.num_hidden_layers / config.num_hidden_groups / config.inner_group_num
            positions = {
                stack: p._replace(
                    n_layer=round(p.n_layer * times), n_branches=round(p.n_branches * times)
                )
                for stack, p in positions.items()
            }

    def block_of(path: Sequence[str]) -> Block | None:
        """Return the block that a module is in."""
        starts = (tuple(path[:k]) for k in range(len(path), -1, -1))
        return next((b for b in starts if b in stacks.get(b[:-1], ())), None)

    outside = [place for place, site in sites.items() if block_of(site.path) is None]
    result = []
    for place in places:
        position, parts, reason = place.position, place.parts, place.reason
        named: tuple[Part, ...] = ()
        unnamed = ""
        if place in sites:
            named = () if sites[place].stands_in else sites[place].parts
            unnamed = sites[place].reason
        if place.kind == "embedding" and stacks:
            width = cast(Geometry, place.geometry).fan_in
            fitting = [p for p in positions.values() if p.n_embd == width]
            position = (fitting or list(positions.values()))[0]
        elif place in sites and stacks:
            site = sites[place]
            parts, reason = site.parts, site.reason
            inside = block_of(site.path)
            if inside is None:
                last = place is outside[-1] or site.path[-1:] == ["lm_head"]
                parts = tuple(("output" if last else "outside", units) for _, units in parts)
                position = next(iter(positions.values()))
            else:
                position = positions[inside[:-1]]._replace(layer=stacks[inside[:-1]][inside])
        result.append(
            dataclasses.replace(
                place, position=position, parts=parts, reason=reason, named=named, unnamed=unnamed,
                block=block_of(place.path) or (),
            )
        )  # fmt: skip
    return result


def _position(
    stack: Block,
    stacks: dict[Block, dict[Block, int]],
    block_of_end: dict[Place, Block],
    sites: dict[Place, _Site],
) -> Position:
    """Return what is said of a stack of blocks; several experts end one branch."""
    ends = [place for place, block in block_of_end.items() if block[:-1] == stack]
    branches = {
        (block_of_end[place], sites[place].role)
        if any("expert" in part for part in sites[place].path)
        else place
        for place in ends
    }
    shared = [  # experts beside an MLP: in one branch with it
        key
        for key in branches
        if isinstance(key, tuple)
        and any(
            not isinstance(other, tuple)
            and block_of_end[other] == key[0]
            and sites[other].role == key[1]
            for other in branches
        )
    ]
    n_embd = int(cast(Geometry, ends[0].geometry).fan_out)
    return Position(0, len(stacks[stack]), len(branches) - len(shared), n_embd)
