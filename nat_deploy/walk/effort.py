"""How much a search does: three sizes that people can choose from."""

from dataclasses import dataclass
from typing import Literal

EffortName = Literal["quick", "normal", "thorough"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """Sizes of a search and of the adaptations in it.

    first_epochs, further_epochs    training of the supernet before the first evaluation, and before each later one
    measured_half_width             finalists are measured until their interval is this share of the latency, up and down ...
    measured_cap_s                  ... or so many seconds have gone into each
    """

    initial_size: int
    archive_size: int
    iterations: int
    new_per_iteration: int
    population_size: int
    generations: int
    first_epochs: float
    further_epochs: float
    measured_half_width: float
    measured_cap_s: float


EFFORTS: dict[EffortName, Effort] = {
    "quick": Effort(
        initial_size=24,
        archive_size=36,
        iterations=3,
        new_per_iteration=12,
        population_size=40,
        generations=30,
        first_epochs=6,
        further_epochs=1,
        measured_half_width=0.01,
        measured_cap_s=5.0,
    ),
    "normal": Effort(
        initial_size=32,
        archive_size=48,
        iterations=5,
        new_per_iteration=16,
        population_size=100,
        generations=50,
        first_epochs=12,
        further_epochs=2,
        measured_half_width=0.005,
        measured_cap_s=15.0,
    ),
    # The sizes of NAT (arXiv 2005.05859) as far as they are known.
    "thorough": Effort(
        initial_size=100,
        archive_size=300,
        iterations=30,
        new_per_iteration=25,
        population_size=100,
        generations=100,
        first_epochs=50,
        further_epochs=5,
        measured_half_width=0.005,
        measured_cap_s=15.0,
    ),
}
