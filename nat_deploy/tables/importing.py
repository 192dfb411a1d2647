"""Imports as people ask for them: files and what they know of where these were measured."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nat_deploy.errors import InputError
from nat_deploy.predictors.latency import LatencyTable
from nat_deploy.tables.kit_manifest import load_manifest
from nat_deploy.tables.kit_results import KitResults, check_kit_files, read_profiled_results, read_written_results
from nat_deploy.tables.once_for_all import read_once_for_all
from profilers.errors import JobError
from profilers.target import Target

_NOTE10, _NOTE10_RUNTIME = "samsung-note10", "tflite"  # the only device that Once-for-all published


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where latencies were measured, as far as it is told; None is not told."""

    device: str | None = None
    runtime: str | None = None
    runtime_version: str | None = None
    precision: str | None = None
    threads: int | None = None
    power_mode: str | None = None

    def target(
        self,
        *,
        device: str | None = None,
        runtime: str | None = None,
        precision: str = "fp32",
        threads: int = 1,
        batch_size: int = 1,
    ) -> Target:
        """The target, what is not told taken from the arguments.

        Raises:
            InputError: Device or runtime are known from nowhere, or a value is not allowed.
        """
        known = {"--device": self.device or device, "--runtime": self.runtime or runtime}
        for option, value in known.items():
            if value is None:
                raise InputError(f"an import must know where it was measured, but {option} is not given; name it")
        try:
            return Target(
                device=known["--device"] or "",
                runtime=known["--runtime"] or "",
                runtime_version=self.runtime_version or "unknown",
                precision=self.precision or precision,
                threads=self.threads or threads,
                power_mode=self.power_mode or "default",
                batch_size=batch_size,
            )
        except JobError as error:
            raise InputError(str(error)) from error


def import_published(files: Sequence[Path], origin: Origin) -> LatencyTable:
    """Tables of Once-for-all; unless told otherwise, those of the one device that was ever published.

    Raises:
        As `read_once_for_all`, and InputError as `Origin.target`.
    """
    return read_once_for_all(files, origin.target(device=_NOTE10, runtime=_NOTE10_RUNTIME))


def import_kit(kit_folder: Path, results: Path, origin: Origin) -> KitResults:
    """Results of a kit: a file of `python3 -m profilers`, which says itself what it was measured with, or a form `id,ms`.

    Raises:
        MissingError: There is no such kit, or there are no results.
        FileFormatError: The kit or the results are broken, or do not belong together.
        InputError: What was told does not fit the results, or a number cannot be in ms.
    """
    kit = load_manifest(kit_folder)
    check_kit_files(kit, kit_folder)
    match results.suffix:
        case ".csv":
            target = origin.target(precision=kit.precision, threads=kit.threads, batch_size=kit.batch_size)
            return read_written_results(kit, results, target)
        case ".jsonl":
            told = [name for name in ("runtime", "runtime_version", "precision", "threads") if getattr(origin, name) is not None]
            if told:
                raise InputError(f"'{results}' says itself what it was measured with, but {told[0]} was told too; leave it out")
            found = read_profiled_results(kit, results)
            target = found.table.target
            named = Origin(
                device=origin.device or target.device,
                runtime=target.runtime,
                runtime_version=target.runtime_version,
                power_mode=origin.power_mode or target.power_mode,
            ).target(precision=target.precision, threads=target.threads, batch_size=target.batch_size)
            return replace(found, table=replace(found.table, target=named))
        case suffix:
            raise InputError(
                f"results of a kit must be a .jsonl or a .csv file, but '{suffix}' came; give one of the two that its instructions name"
            )
