"""ONNX file to engine.

Precision lives in the graph: from TensorRT 10 on, networks are strongly typed and no flag widens or narrows anything. TensorRT 8
has only flags that *allow* a precision; the record then says `typing: weak`.
"""

from __future__ import annotations

import ctypes
import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from profilers.errors import ModelFileError, RuntimeFailedError
from profilers.runtimes.base import check_model_file, file_sha256, fill_shape
from profilers.runtimes.tensorrt.bindings import Features, make_log
from profilers.runtimes.tensorrt.cuda import Gpu
from profilers.runtimes.tensorrt.engine_record import EngineRecord, write_whole

BUILD_S = 1800.0  # a build may take so long: minutes on small boards
LEVEL = 3  # TensorRT's own default, set all the same
AVG_TIMING_ITERATIONS = 8  # as trtexec; a single timing of each tactic makes builds differ more
_PRECISION_FLAGS = {"fp32": (), "fp16": ("FP16",), "int8": ("INT8",)}
# Tactics that call libraries of CUDA, by a function that the real library has: containers and small bundles ship without them.
_LIBRARY_TACTICS = {
    "CUBLAS": ("libcublas.so", "cublasCreate_v2"),
    "CUBLAS_LT": ("libcublasLt.so", "cublasLtCreate"),
    "CUDNN": ("libcudnn.so", "cudnnCreate"),
}
_LIBRARY_VERSIONS = ("", ".8", ".9", ".11", ".12", ".13")


@dataclass(frozen=True)
class BuildOptions:
    """What an engine is built for."""

    precision: str = "fp32"
    batch_size: int = 1
    level: int | None = None  # None: 3 where TensorRT has levels
    compute_capabilities: tuple[str, ...] = ()  # only TensorRT-RTX: "8.6"; empty for its own choice
    timing_cache: Path | None = None  # shared by all builds; only TensorRT


@dataclass(frozen=True)
class BuiltEngine:
    """An engine in memory, and how it came about."""

    plan: bytes
    record: EngineRecord
    warnings: tuple[str, ...]


def build_engine(runtime: str, trt: Any, path: Path, options: BuildOptions, gpu: Gpu | None) -> BuiltEngine:
    """Build an engine for one batch size.

    Args:
        runtime: "tensorrt" or "tensorrt-rtx".
        trt: Its bindings.
        path: The ONNX file.
        options: What to build for.
        gpu: The GPU that is here; TensorRT-RTX needs none.

    Raises:
        ModelFileError: The file is missing, is no ONNX model, or does not take this batch.
        RuntimeFailedError: TensorRT cannot build it, or lacks what was asked for.
    """
    check_model_file(path)
    features, log = Features.of(trt), make_log(trt)
    builder = _made(trt.Builder, log)
    # Builder, network and parser must outlive one another: TensorRT keeps only plain pointers.
    network = builder.create_network(_creation_flags(trt, features))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(path.read_bytes()):
        reasons = [" ".join(str(parser.get_error(index).desc()).split()) for index in range(parser.num_errors)]
        raise ModelFileError(
            f"a model must be an ONNX file that {runtime} reads, but {str(path)!r} is not: "
            f"{(reasons or [log.reason()])[0][:300]}; export it for this runtime."
        )
    config = builder.create_builder_config()
    flags = _set_flags(trt, config, features, options)
    sources = _set_tactic_sources(trt, config)
    level = _set_level(runtime, config, features, options)
    config.avg_timing_iterations = AVG_TIMING_ITERATIONS
    _set_compute_capabilities(trt, config, features, options)
    _fix_batch(builder, network, config, path.name, options.batch_size)
    keep_cache = _share_timing_cache(config, features, options)
    started = time.perf_counter()
    plan = builder.build_serialized_network(network, config)
    build_s = time.perf_counter() - started
    if plan is None:
        raise RuntimeFailedError(
            f"{runtime} must build an engine from {path.name!r}, but it failed: {log.reason()}; "
            "try another precision or version, or free memory of the GPU."
        )
    keep_cache()
    content = bytes(plan)
    capabilities = options.compute_capabilities or (
        () if gpu is None or features.compute_capabilities else (gpu.compute_capability,)
    )
    record = EngineRecord(
        runtime=runtime,
        runtime_version=str(trt.__version__),
        cuda=None if gpu is None else gpu.driver_cuda,
        gpu=None if gpu is None else gpu.name,
        compute_capabilities=capabilities,
        precision=options.precision,
        typing="strong" if features.strong_typing else "weak",
        flags=flags,
        tactic_sources=sources,
        level=level,
        avg_timing_iterations=AVG_TIMING_ITERATIONS,
        batch_size=options.batch_size,
        num_layers=int(network.num_layers),
        build_s=build_s,
        model_sha256=file_sha256(path),
        engine_sha256=hashlib.sha256(content).hexdigest(),
        num_bytes=len(content),
    )
    return BuiltEngine(content, record, tuple(log.warnings))


def _made(kind: Callable[[Any], Any], log: Any) -> Any:
    try:
        return kind(log)
    except (TypeError, RuntimeError) as error:  # the bindings turn a null pointer into these
        raise RuntimeFailedError(
            f"TensorRT must start, but it cannot: {log.reason()}; check the GPU and its driver with nvidia-smi."
        ) from error


def _creation_flags(trt: Any, features: Features) -> int:
    flags = trt.NetworkDefinitionCreationFlag
    if features.strong_typing:
        return 1 << int(flags.STRONGLY_TYPED)
    return 1 << int(flags.EXPLICIT_BATCH) if features.explicit_batch_flag else 0


def _set_flags(trt: Any, config: Any, features: Features, options: BuildOptions) -> tuple[str, ...]:
    if not features.strong_typing and features.precision_flags:
        for name in _PRECISION_FLAGS[options.precision]:
            config.set_flag(getattr(trt.BuilderFlag, name))
    config.clear_flag(trt.BuilderFlag.TF32)  # on by default; it rounds what was asked to be fp32 to 10 bits
    names = [name for name in dir(trt.BuilderFlag) if name.isupper()]
    return tuple(sorted({name for name in names if config.get_flag(getattr(trt.BuilderFlag, name))}))


def _set_tactic_sources(trt: Any, config: Any) -> tuple[str, ...]:
    names = [name for name in dir(trt.TacticSource) if name.isupper()]
    wanted = config.get_tactic_sources()
    for name in names:
        if name in _LIBRARY_TACTICS and not _has_library(*_LIBRARY_TACTICS[name]):
            wanted &= ~(1 << int(getattr(trt.TacticSource, name)))
    config.set_tactic_sources(wanted)
    return tuple(sorted(name for name in names if wanted >> int(getattr(trt.TacticSource, name)) & 1))


def _has_library(name: str, function: str) -> bool:
    for version in _LIBRARY_VERSIONS:
        try:
            return hasattr(ctypes.CDLL(name + version), function)
        except OSError:
            continue
    return False


def _set_level(runtime: str, config: Any, features: Features, options: BuildOptions) -> int | None:
    if not features.levels:
        if options.level is not None:
            raise RuntimeFailedError(
                f"builder level {options.level} needs TensorRT 8.6 or newer, but {runtime} here has no levels; leave it out."
            )
        return None
    level = LEVEL if options.level is None else options.level
    config.builder_optimization_level = level
    return level


def _set_compute_capabilities(trt: Any, config: Any, features: Features, options: BuildOptions) -> None:
    if not options.compute_capabilities:
        return
    if not features.compute_capabilities:
        raise RuntimeFailedError(
            "an engine for another GPU needs TensorRT-RTX, because TensorRT builds only for the GPU that is here; "
            "leave the compute capability out, or use the format trt-rtx."
        )
    known = {f"{name[2:-1]}.{name[-1]}": name for name in dir(trt.ComputeCapability) if name.startswith("SM")}
    unknown = [text for text in options.compute_capabilities if text not in known]
    if unknown:
        raise RuntimeFailedError(
            f"TensorRT-RTX builds for the compute capabilities {', '.join(sorted(known, key=float))}, but {unknown[0]!r} came; "
            "for another GPU build with TensorRT on a machine that has it."
        )
    config.num_compute_capabilities = len(options.compute_capabilities)
    for index, text in enumerate(options.compute_capabilities):
        config.set_compute_capability(getattr(trt.ComputeCapability, known[text]), index)


def _fix_batch(builder: Any, network: Any, config: Any, model: str, batch_size: int) -> None:
    """Give every input that leaves its batch open exactly one shape."""
    profile = builder.create_optimization_profile()
    is_open = False
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        dims: Sequence[int] = tuple(tensor.shape)
        shape = fill_shape(tensor.name, model, tuple(None if dim < 0 else dim for dim in dims), batch_size)
        if shape != dims:
            is_open = True
            profile.set_shape(tensor.name, shape, shape, shape)
    if is_open:
        config.add_optimization_profile(profile)


def _share_timing_cache(config: Any, features: Features, options: BuildOptions) -> Callable[[], None]:
    """Start from the tactics that were timed before; return what keeps those of this build.

    TensorRT-RTX times nothing when it builds, and would ask for a GPU.
    """
    path = options.timing_cache
    if path is None or features.compute_capabilities:
        return lambda: None
    known = path.read_bytes() if path.is_file() else b""
    cache = config.create_timing_cache(known)
    # It is refused when it comes from another device or version: then this build starts afresh.
    if cache is None or not config.set_timing_cache(cache, False):
        config.set_timing_cache(config.create_timing_cache(b""), False)

    def keep() -> None:
        used = config.get_timing_cache()
        if used is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, bytes(used.serialize()))

    return keep
