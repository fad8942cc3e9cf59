"""Find where the residual branches of a convolutional network end, from the sums in its passes.

A forward pass is traced with symbols in the place of numbers. Where a stream is added to what was
computed from it, whatever their names, the last weight on the way to the sum ends a branch, and so
do the gain of a norm and a layer scale behind it.
"""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Iterator

import torch
from torch import fx, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

__all__: list[str] = []  # for this package alone

SUMS = (operator.add, operator.iadd, torch.add, "add", "add_")
PRODUCTS = (operator.mul, operator.imul, torch.mul, "mul", "mul_")
WEIGHTS = (nn.Linear, _ConvNd)
NORMS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, _NormBase)
TRANSPARENT = (nn.Identity, nn.Dropout, nn.modules.dropout._DropoutNd)
POOLS = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
DROPS = ("dropout", "dropout2d", "dropout3d", "stochastic_depth", "drop_path")
MOVES = ("permute", "transpose", "contiguous", "view", "reshape", "flatten", "movedim")


def branch_ends(model: nn.Module) -> frozenset[str]:
    """Return the names of parameters that end a residual branch, in modules with convolutions.

    A module that cannot be traced (its path depends on the data) is left for those in it.

    >>> class Block(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.conv1, self.conv2 = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
    ...         self.bn = nn.BatchNorm2d(4)
    ...     def forward(self, x):
    ...         return x + self.bn(self.conv2(self.conv1(x).relu()))
    >>> sorted(branch_ends(nn.Sequential(nn.Conv2d(3, 4, 3), Block())))
    ['1.bn.weight', '1.conv2.weight']
    """
    found: set[str] = set()
    waiting = [("", model)]
    while waiting:
        prefix, module = waiting.pop()
        if not any(isinstance(one, _ConvNd) for one in module.modules()):
            continue
        # What a pass counts or keeps is kept by a copy, which has the same parameters.
        shared = {id(t): t for t in (*module.parameters(), *module.buffers())}
        try:
            traced = copy.deepcopy(module, shared)
            for one in traced.modules():
                one._forward_hooks.clear()
                one._forward_pre_hooks.clear()
            with torch.random.fork_rng(devices=[]):
                graph = fx.Tracer().trace(traced)
        except Exception:  # whatever a pass of anyone's does with a symbol
            waiting += [(f"{prefix}{name}.", one) for name, one in module.named_children()]
            continue
        found |= {f"{prefix}{name}" for name in _Passes(traced, graph).ends()}
    return frozenset(found)


class _Passes:
    """The graph of one forward pass."""

    def __init__(self, module: nn.Module, graph: fx.Graph) -> None:
        self._modules = dict(module.named_modules())
        self._graph = graph
        self._before: dict[fx.Node, set[fx.Node]] = {}
        self._depth: dict[fx.Node, int] = {}  # weights on the longest way to a node
        for node in graph.nodes:
            inputs = node.all_input_nodes
            self._before[node] = {node}.union(*(self._before[one] for one in inputs))
            deepest = max((self._depth[one] for one in inputs), default=0)
            self._depth[node] = deepest + isinstance(self._module(node), WEIGHTS)

    def _module(self, node: fx.Node) -> nn.Module | None:
        return self._modules[str(node.target)] if node.op == "call_module" else None

    def ends(self) -> Iterator[str]:
        """Yield the names of what ends a branch."""
        for node in self._graph.nodes:
            parts = [one for one in node.args if isinstance(one, fx.Node)]
            if node.target in SUMS and len(parts) == 2:
                stream, branch = sorted(parts, key=lambda one: self._depth[one])
                if self._depth[stream] < self._depth[branch] and self._leaves(stream, branch):
                    yield from self._way_back(branch)

    def _leaves(self, stream: fx.Node, branch: fx.Node) -> bool:
        """Return whether a branch was computed from a stream, which one weight may project."""
        projected = False
        while stream not in self._before[branch]:
            module = self._module(stream)
            if isinstance(module, WEIGHTS):
                kernel = math.prod(getattr(module, "kernel_size", (1,)))
                if projected or kernel > 9:
                    return False
                projected = True
            elif not (isinstance(module, (*NORMS, *TRANSPARENT, *POOLS)) or _drops(stream)):
                return False
            (stream,) = stream.all_input_nodes
        return stream.op != "get_attr"

    def _way_back(self, node: fx.Node) -> Iterator[str]:
        """Yield the last weight before a sum, and what scales its outputs."""
        passed: list[str] = []
        while True:
            module = self._module(node)
            if isinstance(module, WEIGHTS):
                yield from (*passed, f"{node.target}.weight")
                return
            inputs = node.all_input_nodes
            if isinstance(module, NORMS):
                passed += [f"{node.target}.weight"] if module.weight is not None else []
            elif node.target in PRODUCTS and len(inputs) == 2:
                scale = next((one for one in inputs if one.op == "get_attr"), None)
                first, gate = sorted(inputs, key=lambda one: len(self._before[one]))
                if scale is not None:  # a layer scale
                    passed.append(str(scale.target))
                    inputs = [one for one in inputs if one is not scale]
                elif first in self._before[gate]:  # squeeze and excite
                    inputs = [first]
            elif not (
                isinstance(module, TRANSPARENT)
                or _drops(node)
                or node.target in MOVES
                or _turns(node)
            ):
                return
            if len(inputs) != 1:
                return
            (node,) = inputs


def _drops(node: fx.Node) -> bool:
    """Return whether a node leaves out numbers at random, by a function."""
    return node.op == "call_function" and getattr(node.target, "__name__", "") in DROPS


def _turns(node: fx.Node) -> bool:
    """Return whether a node transposes by an attribute."""
    return node.target is getattr and node.args[1] in ("T", "mT", "H", "mH")
