"""One point of a search space, without weights."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """What was chosen: hashable, comparable, and the same for equal networks.

    `kernel` and `expand` list the active layers only, stage by stage, so there is no room for values that mean nothing. A search space checks that the
    values lie inside it (`SearchSpace.check`). `width` is there in spaces whose stages have elastic outputs.
    """

    space: str
    resolution: int
    depth: tuple[int, ...]
    kernel: tuple[int, ...]
    expand: tuple[float, ...]
    width: tuple[float, ...] = ()

    def stages(self) -> tuple[tuple[tuple[int, float], ...], ...]:
        """`(kernel, expand)` of every active layer, one tuple per stage."""
        layers = list(zip(self.kernel, self.expand, strict=True))
        starts = [sum(self.depth[:stage]) for stage in range(len(self.depth))]
        return tuple(tuple(layers[start : start + depth]) for start, depth in zip(starts, self.depth, strict=True))
