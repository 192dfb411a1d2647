"""The folder of a run: everything needed to continue it or to explain it.

    run.json                    settings and provenance, written once
    archive.jsonl               every evaluation, in the order they were finished (append-only, checksums)
    iterations/NNN-selected.json    which architectures an iteration is about to adapt on and evaluate
    iterations/NNN.json         a finished iteration: its archive, hypervolumes and surrogate scores; 000 is the initial archive
    checkpoints/VVV             supernet weights of the newest version
    measurements.jsonl          every latency measured in the run (append-only, checksums)
    finalists.json              the answer

A file is whole or not there, and every step is a function of earlier files and of random generators made from (seed, iteration,
step). So a run that was killed at any moment goes on as if nothing had happened.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter
from pydantic.dataclasses import dataclass as checked

from nat_deploy.errors import FileFormatError, InputError
from nat_deploy.files import read_json_document, write_atomically, writing_error
from nat_deploy.predictors.accuracy import AccuracyMethod, MethodScores, PredictionScores
from nat_deploy.search.evaluator import Evaluator
from nat_deploy.search.journal import Journal, validated
from nat_deploy.search.settings import SearchSettings

FORMAT = 1
GeneString = tuple[int, ...]

_strict = ConfigDict(extra="forbid")
Value = TypeVar("Value")


@checked(frozen=True, slots=True, kw_only=True, config=_strict)
class EvaluationRecord:
    """One architecture, evaluated with one version of the supernet's weights."""

    genes: GeneString
    supernet_version: int
    error_percent: float


@checked(frozen=True, slots=True, kw_only=True, config=_strict)
class MeasurementRecord:
    """Latency of one architecture on one device: median of a batch and its 95 % interval, in ms, beside what had been predicted."""

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
    """The surrogate of an iteration.

    compared        cross-validated scores of the methods that were compared
    on_new          scores on the new candidates only: predicted before adaptation, measured after it (so the RMSE holds the
                    adaptation's gain)
    macs_kendall_tau    tau of the trivial surrogate "more MACs, less error" on the same candidates
    """

    method: AccuracyMethod
    compared: tuple[MethodScores, ...]
    on_new: PredictionScores
    macs_kendall_tau: float


@checked(frozen=True, slots=True, kw_only=True, config=_strict)
class Selection:
    """What an iteration decided before adapting: the architectures of its archive, which of them are new, and the errors predicted for those."""

    iteration: int
    genes: tuple[GeneString, ...]
    new: tuple[GeneString, ...]
    predicted_error_percent: tuple[float, ...]
    method: AccuracyMethod | None
    compared: tuple[MethodScores, ...]


@checked(frozen=True, slots=True, kw_only=True, config=_strict)
class IterationRecord:
    """A finished iteration; its archive is `genes` with the errors of `supernet_version` in archive.jsonl."""

    iteration: int
    supernet_version: int
    genes: tuple[GeneString, ...]
    num_new: int
    hypervolumes: Hypervolumes
    surrogate: SurrogateRecord | None


@checked(frozen=True, slots=True, kw_only=True, config=_strict)
class FinalistRecord:
    """A returned network: it meets every budget, by measurement where it is a latency and the device measures.

    latencies   one per device that measures, in the order of the objectives
    """

    genes: GeneString
    error_percent: float
    latencies: tuple[MeasurementRecord, ...]


@checked(frozen=True, slots=True, kw_only=True, config=_strict)
class ResultRecord:
    """The answer of a run: networks that meet the budgets, most accurate first, and the front they come from."""

    supernet_version: int
    finalists: tuple[FinalistRecord, ...]
    front: tuple[GeneString, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFolder:
    """An open run folder. Make one with `create` or `resume`."""

    path: Path
    settings: SearchSettings
    provenance: Mapping[str, str]

    @staticmethod
    def create(path: Path, settings: SearchSettings, provenance: Mapping[str, str]) -> "RunFolder":
        """Begin a run in a folder that holds none yet; what else lies there, such as latency tables, stays.

        Args:
            path: The folder.
            settings: What to search.
            provenance: What the result depends on besides the settings (space, data set, device target, checksum of the
                supernet): same values, same result.

        Raises:
            InputError: The folder holds a run already, or cannot be written.
        """
        if (path / "run.json").exists() or (path.exists() and not path.is_dir()):
            raise InputError(
                f"run folder '{path}' must not hold a run yet, but it does; give another folder, or --resume to continue it"
            )
        _make_folders(path)
        document = {"format": FORMAT, "settings": _settings.dump_python(settings, mode="json"), "provenance": dict(provenance)}
        write_atomically(path / "run.json", json.dumps(document, indent=1))
        _make_folders(path / "iterations", path / "checkpoints")
        return RunFolder(path=path, settings=settings, provenance=dict(provenance))

    @staticmethod
    def resume(path: Path, settings: SearchSettings | None = None, provenance: Mapping[str, str] | None = None) -> "RunFolder":
        """Continue a run.

        Args:
            path: Its folder.
            settings: If given, they must be the run's; by default the run's own are taken.
            provenance: Likewise.

        Raises:
            MissingError: There is no run there.
            FileFormatError: run.json is broken.
            InputError: Settings or provenance differ; the message names the first difference.
        """
        document = read_json_document(path / "run.json")
        if (
            not isinstance(document, dict)
            or set(document) != {"format", "settings", "provenance"}
            or document["format"] != FORMAT
        ):
            raise FileFormatError(f"'{path / 'run.json'}' must be a run of format {FORMAT}, but it is not; give another folder")
        found = RunFolder(
            path=path,
            settings=validated(_settings, document["settings"], f"settings in '{path / 'run.json'}'"),
            provenance=validated(_provenance, document["provenance"], f"provenance in '{path / 'run.json'}'"),
        )
        if settings is not None:
            _check_same(path, _settings.dump_python(found.settings, mode="json"), _settings.dump_python(settings, mode="json"))
        if provenance is not None:
            _check_same(path, dict(found.provenance), dict(provenance))
        _make_folders(path / "iterations", path / "checkpoints")
        return found

    # ---- what happened ------------------------------------------------------------------------------------------------------

    @property
    def evaluations(self) -> Journal[EvaluationRecord]:
        return Journal(self.path / "archive.jsonl", _evaluation)

    @property
    def measurements(self) -> Journal[MeasurementRecord]:
        return Journal(self.path / "measurements.jsonl", _measurement)

    def read_iteration(self, iteration: int) -> IterationRecord | None:
        """A finished iteration, or None."""
        return _read(self._iteration_path(iteration), _iteration)

    def write_iteration(self, record: IterationRecord) -> None:
        write_atomically(self._iteration_path(record.iteration), _iteration.dump_json(record))

    def read_iterations(self) -> list[IterationRecord]:
        """All finished iterations, from 0 on."""
        records: list[IterationRecord] = []
        while (record := self.read_iteration(len(records))) is not None:
            records.append(record)
        return records

    def read_selection(self, iteration: int) -> Selection | None:
        return _read(self._iteration_path(iteration, "-selected"), _selection)

    def write_selection(self, selection: Selection) -> None:
        write_atomically(self._iteration_path(selection.iteration, "-selected"), _selection.dump_json(selection))

    def read_result(self) -> ResultRecord | None:
        """The answer, or None while the run is not finished."""
        return _read(self.path / "finalists.json", _result)

    def write_result(self, result: ResultRecord) -> None:
        write_atomically(self.path / "finalists.json", _result.dump_json(result))

    def _iteration_path(self, iteration: int, suffix: str = "") -> Path:
        return self.path / "iterations" / f"{iteration:03}{suffix}.json"

    # ---- weights ------------------------------------------------------------------------------------------------------------

    def has_checkpoint(self, version: int) -> bool:
        return self._checkpoint_path(version).exists()

    def save_checkpoint(self, evaluator: Evaluator) -> None:
        """Keep the evaluator's weights; older ones go once the new ones are there."""
        path = self._checkpoint_path(evaluator.version)
        temporary = path.with_name(f".{path.name}.tmp")
        temporary.unlink(missing_ok=True)
        try:
            evaluator.save(temporary)
            temporary.replace(path)
        except OSError as error:
            raise writing_error(path, error) from error
        for old in path.parent.iterdir():
            if old != path:
                old.unlink()

    def load_checkpoint(self, evaluator: Evaluator, version: int) -> None:
        """Give the evaluator the weights of that version.

        Raises:
            FileFormatError: They are gone, or belong to another version.
        """
        path = self._checkpoint_path(version)
        if not path.exists():
            raise FileFormatError(
                f"checkpoint '{path}' must be there to continue the run, but it is not; restore it or start a new run"
            )
        evaluator.load(path)
        if evaluator.version != version:
            raise FileFormatError(
                f"checkpoint '{path}' must hold version {version}, but it holds {evaluator.version}; start a new run"
            )

    def _checkpoint_path(self, version: int) -> Path:
        return self.path / "checkpoints" / f"{version:03}"


def _make_folders(*folders: Path) -> None:
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise writing_error(folder, error) from error


def _read(path: Path, adapter: TypeAdapter[Value]) -> Value | None:
    return validated(adapter, read_json_document(path), f"'{path}'") if path.exists() else None


def _check_same(path: Path, found: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    for key in [*found, *(key for key in asked if key not in found)]:
        if found.get(key) != asked.get(key):
            raise InputError(
                f"run '{path}' can be resumed only as it began, but {key} was {found.get(key)!r} and is now {asked.get(key)!r}; "
                "ask for the same, or start a new run in another folder"
            )


_settings = TypeAdapter(SearchSettings)
_provenance: TypeAdapter[Mapping[str, str]] = TypeAdapter(Mapping[str, str])
_evaluation = TypeAdapter(EvaluationRecord)
_measurement = TypeAdapter(MeasurementRecord)
_iteration = TypeAdapter(IterationRecord)
_selection = TypeAdapter(Selection)
_result = TypeAdapter(ResultRecord)
