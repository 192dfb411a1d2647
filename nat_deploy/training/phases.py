"""What a supernet learns when: a schedule is a sequence of phases.

Source of the phases: progressive shrinking (Once-for-all, section 3.3); the sandwich rule is Yu & Huang's (ICCV 2019).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from nat_deploy.spaces import Architecture, MBConvSpace, SearchSpace
from nat_deploy.spaces.mbconv_space import EXPANDS, KERNELS
from nat_deploy.spaces.ofa_mbv3 import DEPTHS

Rule = Literal["largest", "random", "sandwich"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A stretch of training with one learning-rate schedule.

    rule           which subnets a step trains: the largest alone; random ones, taught by a copy of the largest as it was before the first such phase; or
                   largest, smallest and random ones, taught by the largest
    num_random     how many random ones
    kernels, expands, depths
                   what random and smallest subnets may choose; a stage that has none of the depths keeps its own. Spaces of other blocks and of several widths ignore it
    sorted_widths  expansions trained before; when given, channels are sorted by importance before the phase, inside the groups these widths form
    """

    name: str
    epochs: int
    learning_rate: float
    resolutions: tuple[int, ...]
    rule: Rule
    num_random: int = 0
    warmup_epochs: float = 0.0
    kernels: tuple[int, ...] = KERNELS
    expands: tuple[int, ...] = EXPANDS
    depths: tuple[int, ...] = DEPTHS
    sorted_widths: tuple[int, ...] = ()

    def architectures(self, space: SearchSpace, rng: np.random.Generator) -> list[Architecture]:
        """What the next step trains, the largest first."""
        randoms = [self._random(space, rng) for _ in range(self.num_random)]
        match self.rule:
            case "largest":
                return [space.largest()]
            case "random":
                return randoms
            case "sandwich":
                return [space.largest(), *randoms, self._smallest(space)]

    def _random(self, space: SearchSpace, rng: np.random.Generator) -> Architecture:
        resolution = space.resolutions[-1]
        if not isinstance(space, MBConvSpace):
            return replace(space.decode(space.sample(rng, 1)[0]), resolution=resolution)
        depth = tuple(int(rng.choice(depths)) for depths in self._depths_of(space))
        return Architecture(
            space=space.name,
            resolution=resolution,
            depth=depth,
            kernel=tuple(int(value) for value in rng.choice(self.kernels, sum(depth))),
            expand=tuple(int(value) for value in rng.choice(self.expands, sum(depth))),
        )

    def _smallest(self, space: SearchSpace) -> Architecture:
        resolution = space.resolutions[-1]
        if not isinstance(space, MBConvSpace):
            return replace(space.smallest(), resolution=resolution)
        depth = tuple(min(depths) for depths in self._depths_of(space))
        layers = sum(depth)
        return Architecture(
            space=space.name,
            resolution=resolution,
            depth=depth,
            kernel=(min(self.kernels),) * layers,
            expand=(min(self.expands),) * layers,
        )

    def _depths_of(self, space: MBConvSpace) -> list[list[int]]:
        """What each stage may choose."""
        return [[depth for depth in stage.depths if depth in self.depths] or list(stage.depths) for stage in space.layout.stages]


def sandwich_schedule(
    *, resolutions: Sequence[int], largest_epochs: int, sandwich_epochs: int, learning_rate: float, num_random: int = 2
) -> tuple[Phase, ...]:
    """Train the largest network alone, then all subnets together.

    The largest network learns at the smaller half of the resolutions, which is cheaper; all sizes follow in the second phase. Without epochs of the
    first phase, the supernet is taken to know its subnets already, and its channels stay in their order.
    """
    sizes = tuple(sorted(resolutions))
    alone = (
        Phase(
            name="largest",
            epochs=largest_epochs,
            learning_rate=learning_rate,
            warmup_epochs=1,
            resolutions=sizes[: max(1, len(sizes) // 2)],
            rule="largest",
        ),
    )
    together = Phase(
        name="sandwich",
        epochs=sandwich_epochs,
        learning_rate=learning_rate / 2,
        warmup_epochs=1,
        resolutions=sizes,
        rule="sandwich",
        num_random=num_random,
        sorted_widths=EXPANDS[-1:] if largest_epochs else (),
    )
    return (*alone[: min(1, largest_epochs)], together)


def progressive_shrinking(*, resolutions: Sequence[int], epochs: Sequence[int], learning_rate: float) -> tuple[Phase, ...]:
    """The six phases of Once-for-all: largest, kernel, depth (two), width (two), with as many subnets a step as there.

    Args:
        resolutions: Image sizes, drawn anew for each batch.
        epochs: Of the six phases; the published ones are 180, 120, 25, 120, 25, 120.
        learning_rate: Of the first phase; the others keep the published ratios (.08 : .03 : .0025 : .0075 : .0025 : .0075).
    """
    rows: list[tuple[str, float, Rule, int, tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...]]] = [
        ("largest", 1.0, "largest", 0, KERNELS[-1:], EXPANDS[-1:], DEPTHS[-1:], ()),
        ("kernel", 0.375, "random", 1, KERNELS, EXPANDS[-1:], DEPTHS[-1:], ()),
        ("depth 1", 0.03125, "random", 2, KERNELS, EXPANDS[-1:], DEPTHS[1:], ()),
        ("depth 2", 0.09375, "random", 2, KERNELS, EXPANDS[-1:], DEPTHS, ()),
        ("width 1", 0.03125, "random", 4, KERNELS, EXPANDS[1:], DEPTHS, EXPANDS[-1:]),
        ("width 2", 0.09375, "random", 4, KERNELS, EXPANDS, DEPTHS, EXPANDS[1:]),
    ]
    if len(epochs) != len(rows):
        raise ValueError(f"progressive shrinking has {len(rows)} phases, but {len(epochs)} numbers of epochs came")
    return tuple(
        Phase(
            name=name,
            epochs=count,
            learning_rate=share * learning_rate,
            resolutions=tuple(resolutions),
            rule=rule,
            num_random=num_random,
            kernels=kernels,
            expands=expands,
            depths=depths,
            sorted_widths=widths,
        )
        for count, (name, share, rule, num_random, kernels, expands, depths, widths) in zip(epochs, rows, strict=True)
    )
