"""A kit: a folder with all that is needed to measure a device which can only be reached by hand.

ONNX files of chosen networks and blocks, a manifest that says which is which, a job for `python3 -m profilers` with that package
beside it, a form for results of any other tool, and instructions.
"""

import shutil
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import get_args

import numpy as np

import profilers
from nat_deploy.errors import InputError
from nat_deploy.files import write_atomically, writing_error
from nat_deploy.predictors.latency import BlockIndex
from nat_deploy.predictors.latency.block_features import layer_types
from nat_deploy.profiling.choose import Sitting
from nat_deploy.profiling.devices import Device, Precision
from nat_deploy.profiling.graphs import block_id, network_id, write_sitting
from nat_deploy.spaces import Architecture, Block, SearchSpace
from nat_deploy.tables.kit_manifest import MANIFEST, Kit, KitGraph, manifest_json
from nat_deploy.tables.kit_text import JOB, MODELS, RESULTS_CSV, instructions
from profilers.job import Job, ModelFile, save_job
from profilers.runtimes.base import file_sha256
from profilers.settings import Settings

PRECISIONS: tuple[Precision, ...] = get_args(Precision)
_MOST_GRAPHS = 1000
_NUM_SAMPLED = 1000


def write_kit(folder: Path, space: SearchSpace, device: Device, *, num_networks: int, num_blocks: int, seed: int = 0) -> Kit:
    """Write a kit into a new or empty folder; the manifest comes last, so a folder with one is whole.

    Args:
        device: Runtime, precision, threads and batch size that it is for.
        num_networks: Whole networks, the smallest and the largest of the space first.
        num_blocks: Blocks alone, of as many layer types as possible.

    Raises:
        InputError: The folder is not empty, or nothing or too much is asked for.
        WorkError: The disk is full or fails.
    """
    if not (num_networks >= 0 and num_blocks >= 0 and 0 < num_networks + num_blocks <= _MOST_GRAPHS):
        raise InputError(
            f"a kit must hold 1 to {_MOST_GRAPHS} networks and blocks, but {num_networks} and {num_blocks} are asked for; "
            "20 networks make a good table"
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"folder '{folder}' of the kit must be new or empty, but it is not; give another one")
    rng = np.random.default_rng(seed)
    chosen = Sitting(
        networks=choose_networks(space, num_networks, rng),
        blocks=choose_blocks(BlockIndex(space), num_blocks, rng),
        with_overhead=True,
    )
    try:
        (folder / MODELS).mkdir(parents=True, exist_ok=True)
        kit = Kit(
            space=space.name,
            num_classes=space.num_classes,
            runtime=device.runtime,
            precision=device.precision,
            threads=device.threads,
            batch_size=device.batch_size,
            seed=seed,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            natdeploy_version=version("natdeploy"),
            graphs=_graphs(chosen, write_sitting(device, space, chosen, folder / MODELS, seed=seed), folder),
        )
        package = Path(profilers.__file__).parent
        shutil.copytree(package, folder / "profilers", ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        save_job(_job(kit), folder / JOB)
    except OSError as error:
        raise writing_error(folder, error) from error
    write_atomically(folder / RESULTS_CSV, "".join(["id,ms\n", *(f"{graph.id},\n" for graph in kit.graphs)]))
    write_atomically(folder / "INSTRUCTIONS.md", instructions(kit))
    write_atomically(folder / MANIFEST, manifest_json(kit))
    return kit


def kit_device(*, runtime: str, precision: str, threads: int, batch_size: int) -> Device:
    """What a kit is for.

    Raises:
        InputError: The precision is none.
    """
    if precision not in PRECISIONS:
        raise InputError(f"precision must be one of {', '.join(PRECISIONS)}, but it is '{precision}'; choose one of these")
    return Device(name="kit", runtime=runtime, precision=precision, threads=threads, batch_size=batch_size)


def choose_networks(space: SearchSpace, count: int, rng: np.random.Generator) -> tuple[Architecture, ...]:
    """Different networks: both extremes, so that predictions lie between measured ones, and random ones."""
    chosen = dict.fromkeys([space.smallest(), space.largest()])
    for _ in range(10):  # a tiny space may not hold so many
        if len(chosen) >= count:
            break
        chosen |= dict.fromkeys(space.decode(genes) for genes in space.sample(rng, count))
    return tuple(chosen)[:count]


def choose_blocks(index: BlockIndex, count: int, rng: np.random.Generator) -> tuple[Block, ...]:
    """Different blocks: one of each layer type, a second of each, and so on; within a type those that random networks use most
    are likelier. Nothing tells what a type costs but a block of it."""
    usage = np.asarray(index.count(index.space.sample(rng, _NUM_SAMPLED)).sum(axis=0), dtype=np.float64) + 1e-3
    # Races of exponential clocks: sorting by them draws without replacement, in proportion to the usage.
    order = np.argsort(rng.exponential(size=len(usage)) / usage, kind="stable")
    types = layer_types(index.blocks)
    turns = np.empty(len(usage))
    for kind in np.unique(types):
        of_kind = order[types[order] == kind]
        turns[of_kind] = np.arange(len(of_kind))
    return tuple(index.blocks[place] for place in sorted(order, key=lambda place: turns[place])[:count])


def _graphs(chosen: Sitting, files: list[ModelFile], folder: Path) -> tuple[KitGraph, ...]:
    subjects: dict[str, Architecture | Block] = {network_id(number): arch for number, arch in enumerate(chosen.networks)}
    subjects |= {block_id(number): block for number, block in enumerate(chosen.blocks)}
    return tuple(
        KitGraph(
            id=file.id,
            file=Path(file.path).relative_to(folder).as_posix(),
            sha256=file_sha256(Path(file.path)),
            subject=subjects.get(file.id),
        )
        for file in files
    )


def _job(kit: Kit) -> Job:
    return Job(
        runtime=kit.runtime,
        models=tuple(ModelFile(graph.id, graph.file, graph.sha256) for graph in kit.graphs),
        threads=kit.threads,
        precision=kit.precision,
        batch_size=kit.batch_size,
        settings=Settings.preset("fast"),
        reference=kit.graphs[0].id,
        seed=kit.seed,
    )
