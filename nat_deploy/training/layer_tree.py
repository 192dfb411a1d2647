"""Many subnets at once: what several of them begin with is calibrated once, and computed once on each batch.

A layer's batch-norm statistics depend on the layers before it and on nothing after it. So subnets that agree up to some layer also agree in the
statistics and outputs up to there: they are branches of one tree, and each answer is what the subnet alone would give.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from nat_deploy.spaces import Architecture, Block
from nat_deploy.supernets import Supernet
from nat_deploy.supernets.calibration import calibrate_layer
from nat_deploy.supernets.folding import fold_batch_norms
from nat_deploy.supernets.supernet import extract_layer

_Path = list[tuple[nn.Module, Block]]


@dataclass(slots=True, kw_only=True)
class _Node:
    """A calibrated layer for inference, what follows it, and which architectures end with it."""

    layer: nn.Module
    branches: list["_Node"] = field(default_factory=list)
    ending: tuple[int, ...] = ()


class LayerTree:
    """Calibrated subnets of one supernet, ready for inference.

    num_layers  how many layers it holds and computes; alone, the subnets would have more
    """

    def __init__(self, supernet: Supernet, architectures: Sequence[Architecture], calibration_images: Sequence[Tensor]) -> None:
        """Cut out and calibrate.

        Args:
            architectures: All of one resolution.
            calibration_images: Batches (N, 3, R, R), normalised, at this resolution.

        Raises:
            ValueError: There is no calibration image.
        """
        paths = [supernet.modules_of(architecture) for architecture in architectures]
        self.num_layers = 0
        self._root = _Node(layer=nn.Identity())
        todo = _branches(self._root, paths, tuple(range(len(paths))), 0, calibration_images)
        while todo:
            parent, members, depth, inputs = todo.pop()
            path = paths[members[0]]
            layer, outputs = calibrate_layer(extract_layer(*path[depth]), inputs)
            node = _Node(layer=fold_batch_norms(layer))
            parent.branches.append(node)
            self.num_layers += 1
            if depth + 1 == len(path):
                node.ending = members
            else:
                todo += _branches(node, paths, members, depth + 1, outputs)

    @torch.inference_mode()
    def logits(self, images: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Position and logits (N, classes) of each architecture, in the order of the tree, for `images` (N, 3, R, R)."""
        todo = [(self._root, images)]
        while todo:
            node, inputs = todo.pop()
            outputs = node.layer(inputs)
            yield from ((position, outputs) for position in node.ending)
            todo += [(branch, outputs) for branch in node.branches]


def _branches(
    parent: _Node, paths: Sequence[_Path], members: Sequence[int], depth: int, inputs: Sequence[Tensor]
) -> list[tuple[_Node, tuple[int, ...], int, Sequence[Tensor]]]:
    """`members` (positions of paths that agree so far) parted by the layer that comes next."""
    parted: dict[tuple[int, Block], list[int]] = {}
    for member in members:
        module, block = paths[member][depth]
        parted.setdefault((id(module), block), []).append(member)
    return [(parent, tuple(part), depth, inputs) for part in parted.values()]
