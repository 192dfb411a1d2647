"""The folder of a run: everything needed to continue it or to explain it.

    run.json                    settings and provenance, written once
    archive.jsonl               every evaluation, in the order they were finished (append-only, checksums)
    iterations/NNN-selected.json    which architectures an iteration is about to adapt on and evaluate
    iterations/NNN.json         a finished iteration: its archive, hypervolumes and surrogate scores; 000 is the initial archive
    checkpoints/VVV             supernet weights of the newest version; with several data sets checkpoints/DATA/VVV for each
    measurements.jsonl          every sitting on a device, with all that was measured in it (append-only, checksums)
    finalists.json              the answer

A file is whole or not there, and every step is a function of earlier files and of random generators made from (seed, iteration,
step); latency predictors are a function of the sittings before the step. So a run that was killed at any moment goes on as if nothing
had happened.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

from nat_deploy.errors import FileFormatError, InputError
from nat_deploy.files import read_json_document, write_atomically, writing_error
from nat_deploy.search.evaluator import AdaptableSupernet
from nat_deploy.search.journal import Journal, validated
from nat_deploy.search.records import EvaluationRecord, IterationRecord, ResultRecord, Selection, SittingRecord
from nat_deploy.search.settings import SearchSettings

FORMAT = 4
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFolder:
    """An open run folder. Make one with `create`, `resume` or, only to look at it, `read`."""

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
        found = RunFolder.read(path)
        if settings is not None:
            _check_same(path, _settings.dump_python(found.settings, mode="json"), _settings.dump_python(settings, mode="json"))
        if provenance is not None:
            _check_same(path, dict(found.provenance), dict(provenance))
        _make_folders(path / "iterations", path / "checkpoints")
        found._drop_old_checkpoints()
        found.evaluations.repair()
        found.sittings.repair()
        return found

    @staticmethod
    def read(path: Path) -> "RunFolder":
        """Look at a run, finished, stopped or going on, without writing anything.

        Raises:
            MissingError: There is no run there.
            FileFormatError: run.json is broken, or of another format.
        """
        file = path / "run.json"
        document = read_json_document(file)
        if not isinstance(document, dict) or not {"format", "settings", "provenance"} == set(document):
            raise FileFormatError(f"'{file}' must be a run of format {FORMAT}, but it is not; give another folder")
        if document["format"] != FORMAT:
            raise FileFormatError(
                f"'{file}' must be a run of format {FORMAT}, but it is of format {str(document['format'])[:40]}; "
                "use the version of natdeploy that wrote it, or start a new run"
            )
        return RunFolder(
            path=path,
            settings=validated(_settings, document["settings"], f"settings in '{file}'"),
            provenance=validated(_provenance, document["provenance"], f"provenance in '{file}'"),
        )

    # ---- what happened ------------------------------------------------------------------------------------------------------

    @property
    def evaluations(self) -> Journal[EvaluationRecord]:
        return Journal(self.path / "archive.jsonl", _evaluation)

    @property
    def sittings(self) -> Journal[SittingRecord]:
        return Journal(self.path / "measurements.jsonl", _sitting)

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

    def has_checkpoint(self, objective: str, version: int) -> bool:
        """Whether the weights of that version are kept for the supernet of an error objective."""
        return self._checkpoint_path(objective, version).exists()

    def save_checkpoint(self, objective: str, supernet: AdaptableSupernet) -> None:
        """Keep the supernet's weights; older ones go once the new ones are there."""
        path = self._checkpoint_path(objective, supernet.version)
        _make_folders(path.parent)
        temporary = path.with_name(f".{path.name}.tmp")
        temporary.unlink(missing_ok=True)
        try:
            supernet.save(temporary)
            temporary.replace(path)
        except OSError as error:
            raise writing_error(path, error) from error
        self._drop_old_checkpoints()

    def load_checkpoint(self, objective: str, supernet: AdaptableSupernet, version: int) -> None:
        """Give the supernet the weights of that version.

        Raises:
            FileFormatError: They are gone, or belong to another version.
        """
        path = self._checkpoint_path(objective, version)
        if not path.exists():
            raise FileFormatError(
                f"checkpoint '{path}' must be there to continue the run, but it is not; restore it or start a new run"
            )
        supernet.load(path)
        if supernet.version != version:
            raise FileFormatError(
                f"checkpoint '{path}' must hold version {version}, but it holds {supernet.version}; start a new run"
            )

    def load_newest_checkpoint(self, objective: str, supernet: AdaptableSupernet) -> None:
        """Give the supernet of an error objective the weights that the run has come to.

        Raises:
            FileFormatError: There are none.
        """
        versions = (int(path.name) for path in self._checkpoints(objective).glob("*") if path.name.isdecimal())
        self.load_checkpoint(objective, supernet, max(versions, default=1))

    def _drop_old_checkpoints(self) -> None:
        """Only the newest of each supernet is ever needed; a kill may have left others, and half of one."""
        for folder in map(self._checkpoints, self.settings.errors):
            paths = list(folder.iterdir()) if folder.is_dir() else []
            newest = max((path.name for path in paths if path.name.isdecimal()), key=int, default=None)
            for path in paths:
                if path.name != newest:
                    path.unlink()

    def _checkpoints(self, objective: str) -> Path:
        return self.path / "checkpoints" / objective.partition("@")[2]

    def _checkpoint_path(self, objective: str, version: int) -> Path:
        return self._checkpoints(objective) / f"{version:03}"


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
_sitting = TypeAdapter(SittingRecord)
_iteration = TypeAdapter(IterationRecord)
_selection = TypeAdapter(Selection)
_result = TypeAdapter(ResultRecord)
