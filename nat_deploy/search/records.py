"""What a run writes down: the values in the files of a run folder (`run_folder.py` says which file holds what)."""

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as checked

from nat_deploy.predictors.accuracy import AccuracyMethod, MethodScores, PredictionScores
from nat_deploy.search.genes import GeneString

_strict = ConfigDict(extra="forbid")


@checked(frozen=True, slots=True, kw_only=True, config=_strict)
class EvaluationRecord:
    """One architecture, evaluated with one version of the supernets' weights: an error for each error objective, in their order."""

    genes: GeneString
    supernet_version: int
    errors_percent: tuple[float, ...]


@checked(frozen=True, slots=True, kw_only=True, config=_strict)
class MeasurementRecord:
    """Latency of one architecture on one device: median of a batch and its 95 % interval, in ms, beside what was predicted just before."""

    genes: GeneString
    objective: str
    target: str
    median_ms: float
    low_ms: float
    high_ms: float
    predicted_ms: float
    predicted_low_ms: float
    predicted_high_ms: float


@checked(frozen=True, slots=True, kw_only=True, config=_strict)
class SittingRecord:
    """Architectures measured interleaved on one device, whole or not there.

    name        what it was for; no two sittings of an objective have the same
    exact       whether budgets are judged by it: measured as exactly as the time allows
    """

    name: str
    objective: str
    exact: bool
    measurements: tuple[MeasurementRecord, ...]


@checked(frozen=True, slots=True, kw_only=True, config=_strict)
class PredictionRecord:
    """Latency of one architecture on a device that cannot measure: the prediction and its 95 % interval, in ms."""

    objective: str
    target: str
    predicted_ms: float
    predicted_low_ms: float
    predicted_high_ms: float


@checked(frozen=True, slots=True, kw_only=True, config=_strict)
class Hypervolumes:
    """Hypervolume of archives, as a share of the box up to the reference point.

    before      the archive before the iteration, with the weights before adaptation
    adapted     those of its members that were kept, with the adapted weights: what adaptation gave, less what was dropped
    after       the whole new archive with the adapted weights
    """

    reference: tuple[float, ...]
    before: float
    adapted: float
    after: float


@checked(frozen=True, slots=True, kw_only=True, config=_strict)
class SurrogateRecord:
    """The surrogate of an error objective in an iteration.

    compared        cross-validated scores of the methods that were compared
    on_new          scores on the new candidates only: predicted before adaptation, measured after it (so the RMSE holds the
                    adaptation's gain)
    macs_kendall_tau    tau of the trivial surrogate "more MACs, less error" on the same candidates
    """

    objective: str
    method: AccuracyMethod
    compared: tuple[MethodScores, ...]
    on_new: PredictionScores
    macs_kendall_tau: float


@checked(frozen=True, slots=True, kw_only=True, config=_strict)
class PredictedErrors:
    """What the surrogate that was chosen for an error objective predicted for the new candidates, in their order."""

    objective: str
    method: AccuracyMethod
    compared: tuple[MethodScores, ...]
    errors_percent: tuple[float, ...]


@checked(frozen=True, slots=True, kw_only=True, config=_strict)
class Selection:
    """What an iteration decided before adapting: the architectures of its archive, which of them are new, and what was predicted for those.

    predicted       one per error objective; none for the initial archive
    """

    iteration: int
    genes: tuple[GeneString, ...]
    new: tuple[GeneString, ...]
    predicted: tuple[PredictedErrors, ...]


@checked(frozen=True, slots=True, kw_only=True, config=_strict)
class IterationRecord:
    """A finished iteration; its archive is `genes` with the errors of `supernet_version` in archive.jsonl.

    num_sittings    how many of the sittings in measurements.jsonl its latency predictors knew
    surrogates      one per error objective; none for the initial archive
    """

    iteration: int
    supernet_version: int
    num_sittings: int
    genes: tuple[GeneString, ...]
    num_new: int
    hypervolumes: Hypervolumes
    surrogates: tuple[SurrogateRecord, ...]


@checked(frozen=True, slots=True, kw_only=True, config=_strict)
class FinalistRecord:
    """A returned network: it meets every budget with its interval.

    errors_percent  on validation images, one per error objective, in their order
    latencies   one per device that measures, in the order of the objectives; of all finalists from one sitting
    predicted   one per device that cannot measure
    """

    genes: GeneString
    errors_percent: tuple[float, ...]
    latencies: tuple[MeasurementRecord, ...]
    predicted: tuple[PredictionRecord, ...]

    @property
    def error_percent(self) -> float:
        """The mean over the data sets."""
        return sum(self.errors_percent) / len(self.errors_percent)


@checked(frozen=True, slots=True, kw_only=True, config=_strict)
class ResultRecord:
    """The answer of a run: networks that meet the budgets, most accurate first, and the front they come from."""

    supernet_version: int
    finalists: tuple[FinalistRecord, ...]
    front: tuple[GeneString, ...]
