"""What to measure: models, and the one target they all run on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from profilers.errors import JobError
from profilers.power_mode import DEFAULT
from profilers.settings import Settings
from profilers.strict_json import OPTIONAL, check_format, checked_object, dumps, loads
from profilers.target import Target, check_count, check_precision, slug

FORMAT = 1
_HEX = frozenset("0123456789abcdef")
_FIELDS = {
    "format": (int,),
    "runtime": (str,),
    "models": (list,),
    "threads": (int,),
    "affinity": (list, OPTIONAL),
    "precision": (str,),
    "batch_size": (int,),
    "power_mode": (str,),
    "settings": (dict,),
    "reference": (str, OPTIONAL),
    "seed": (int,),
    "group_size": (int,),
    "together": (bool,),
}
_REQUIRED = ("format", "runtime", "models")


@dataclass(frozen=True)
class ModelFile:
    """One model file of a job; with `sha256` given, a file with other bytes is refused."""

    id: str
    path: str | Path
    sha256: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not self.id:
            raise JobError(f"a model's id must be text that is not empty, but {self.id!r} came; name it.")
        if self.sha256 is not None and not is_sha256(self.sha256):
            raise JobError(f"the sha256 of model {self.id!r} must be 64 hex digits, but {self.sha256!r} came; correct it.")
        object.__setattr__(self, "path", Path(self.path))

    def to_json(self) -> dict[str, Any]:
        return {"id": self.id, "path": str(self.path), "sha256": self.sha256}

    @staticmethod
    def from_json(document: object) -> ModelFile:
        """Raises: JobError when a key is unknown, missing or mistyped."""
        fields = {"id": (str,), "path": (str,), "sha256": (str, OPTIONAL)}
        return ModelFile(**checked_object(document, fields, "model", may_lack=("sha256",)))


@dataclass(frozen=True)
class Job:
    """Models to measure together on one target.

    Args:
        runtime: Name of a runtime, as `open_runtime` takes it.
        models: Ids must differ.
        threads: Threads inside one operator; 1 gives the steadiest times.
        affinity: CPU ids the measuring process is bound to, one or more for each thread; None leaves it free.
        precision: What the graphs compute in; kept in the target, nothing is converted.
        batch_size: Fills dynamic batch dimensions.
        power_mode: In which the device must be: number, name or both ("2-15w"); "default" takes it as it is.
        reference: Id of the model that is timed again and again to see whether the device changed speed.
        seed: Of the inputs and of the order of rounds.
        group_size: Models that are loaded and interleaved in one process.
        together: Models of a group take rounds until the last one is done, so that any two compare round by round.
    """

    runtime: str
    models: tuple[ModelFile, ...]
    threads: int = 1
    affinity: tuple[int, ...] | None = None
    precision: str = "fp32"
    batch_size: int = 1
    power_mode: str = DEFAULT
    settings: Settings = field(default_factory=Settings)
    reference: str | None = None
    seed: int = 0
    group_size: int = 12
    together: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "models", tuple(self.models))
        if not isinstance(self.runtime, str) or not self.runtime:
            raise JobError(f"job.runtime must name a runtime, but {self.runtime!r} came; try 'onnxruntime'.")
        if not isinstance(self.power_mode, str) or not slug(self.power_mode):
            raise JobError(f"job.power_mode must name a power mode, but {self.power_mode!r} came; try 'default'.")
        ids = [model.id for model in self.models]
        if not ids:
            raise JobError("a job must hold at least one model, but it is empty; add one.")
        twice = sorted({id for id in ids if ids.count(id) > 1}) if len(set(ids)) < len(ids) else []
        if twice:
            raise JobError(f"model ids must differ within a job, but {twice[0]!r} comes twice; rename one.")
        for name in ("threads", "batch_size", "group_size"):
            check_count(f"job.{name}", getattr(self, name))
        check_precision(self.precision)
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise JobError(f"job.seed must be a whole number of at least 0, but {self.seed!r} came; correct it.")
        if self.reference is not None and self.reference not in ids:
            raise JobError(f"job.reference must be the id of one of the models, but {self.reference!r} came; correct it.")
        if self.affinity is not None:
            object.__setattr__(self, "affinity", _checked_affinity(self.affinity, self.threads))

    def target_on(self, device: str, runtime_version: str, power_mode: str = DEFAULT, timing_mode: str = "default") -> Target:
        """Return the target of this job on a device that is in a power mode, with a runtime that times in a mode."""
        # After the colon a replay names its recording and TensorRT its timing mode, which the target has apart.
        name = self.runtime.split(":", 1)[0]
        return Target(
            device,
            name,
            runtime_version,
            self.precision,
            threads=self.threads,
            power_mode=power_mode,
            batch_size=self.batch_size,
            timing_mode=timing_mode,
        )

    def with_models(self, models: Sequence[ModelFile], *, reference: str | None = None) -> Job:
        """Return the same job for other models."""
        return replace(self, models=tuple(models), reference=reference)

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "runtime": self.runtime,
            "models": [model.to_json() for model in self.models],
            "threads": self.threads,
            "affinity": None if self.affinity is None else list(self.affinity),
            "precision": self.precision,
            "batch_size": self.batch_size,
            "power_mode": self.power_mode,
            "settings": self.settings.to_json(),
            "reference": self.reference,
            "seed": self.seed,
            "group_size": self.group_size,
            "together": self.together,
        }

    @staticmethod
    def from_json(document: object) -> Job:
        """Raises: JobError when a key is unknown, missing or mistyped, or a value is not allowed."""
        may_lack = set(_FIELDS) - set(_REQUIRED)
        values = checked_object(document, _FIELDS, "job", may_lack=may_lack)
        check_format(values.pop("format"), FORMAT, "job")
        values["models"] = tuple(ModelFile.from_json(model) for model in values["models"])
        if "settings" in values:
            values["settings"] = Settings.from_json(values["settings"])
        return Job(**values)


def load_job(path: Path) -> Job:
    """Read a job file; relative model paths count from the folder of the file.

    Raises:
        JobError: The file is missing or is not a job.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise JobError(f"the job file must be readable text, but {str(path)!r} is not ({error}); check the path.") from error
    job = Job.from_json(loads(text, f"job file {str(path)!r}"))
    folder = Path(path).resolve().parent
    return replace(job, models=tuple(replace(model, path=folder / model.path) for model in job.models))


def save_job(job: Job, path: Path) -> None:
    """Write a job file; model paths are written as they are."""
    Path(path).write_text(dumps(job.to_json()) + "\n", encoding="utf-8")


def is_sha256(text: object) -> bool:
    """Say whether the value is 64 lower-case hex digits."""
    return isinstance(text, str) and len(text) == 64 and set(text) <= _HEX


def _checked_affinity(affinity: Sequence[int], threads: int) -> tuple[int, ...]:
    cpus = tuple(affinity)
    if not all(isinstance(cpu, int) and not isinstance(cpu, bool) and cpu >= 0 for cpu in cpus):
        raise JobError(f"job.affinity must be a list of CPU numbers, but {list(cpus)!r} came; correct it.")
    if len(set(cpus)) != len(cpus) or len(cpus) < threads:
        raise JobError(
            f"job.affinity must name at least one CPU of its own for each of the {threads} thread(s), "
            f"but {list(cpus)!r} came; add CPUs or lower the threads."
        )
    return cpus
