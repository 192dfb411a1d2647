"""TensorRT and TensorRT-RTX on the GPU of this device."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profilers.conditions import ConditionSampler
from profilers.errors import ModelFileError, RuntimeFailedError, RuntimeNotInstalledError
from profilers.gpu_conditions import open_gpu_sampler
from profilers.runtimes.base import TensorSpec, check_model_file, fill_shape
from profilers.runtimes.fake import VirtualClock
from profilers.runtimes.tensorrt.bindings import Features, import_bindings, make_log
from profilers.runtimes.tensorrt.builder import BUILD_S, BuildOptions, BuiltEngine, build_engine
from profilers.runtimes.tensorrt.cuda import Cuda, Gpu
from profilers.runtimes.tensorrt.engine_record import EngineHost, EngineRecord, check_runs_here, read_record
from profilers.runtimes.tensorrt.session import EngineSession
from profilers.runtimes.tensorrt.timing_mode import TimingMode
from profilers.target import slug

if TYPE_CHECKING:
    Importer = Callable[[str], Any]

_DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "INT8": "int8",
    "INT32": "int32",
    "INT64": "int64",
    "UINT8": "uint8",
    "BOOL": "bool",
}


class TensorRtRuntime:
    """Builds an engine from each ONNX file that it loads, or loads an engine that was built here before."""

    def __init__(
        self,
        name: str = "tensorrt",
        mode: TimingMode | None = None,
        *,
        bindings: Importer = import_bindings,
        cuda: Callable[[], Cuda] = Cuda.load,
        cache_folder: Path | None = None,
    ) -> None:
        """Set how engines are timed; tests bring their own bindings and driver.

        Args:
            name: "tensorrt" or "tensorrt-rtx".
            mode: How engines are run and timed.
            cache_folder: Where timing caches are shared; the user's cache folder by default.
        """
        self.name = name
        self._mode = mode or TimingMode()
        self._bindings, self._load_cuda = bindings, cuda
        self._cuda: Cuda | None = None
        self._is_active = False
        self._cache_folder = cache_folder or _user_cache_folder()
        # Samples of the mode "gpu" come from CUDA events, not from a clock of this process.
        self._virtual = VirtualClock()
        self.clock: Callable[[], int] = self._virtual if self._mode.measure == "gpu" else time.perf_counter_ns

    longest_load_s = BUILD_S

    @property
    def mode(self) -> str:
        return self._mode.name

    def check_available(self) -> None:
        self._bindings(self.name)
        self._driver()

    def version(self) -> str:
        return str(self._bindings(self.name).__version__)

    def accelerator(self) -> str | None:
        """Name of the GPU, where it is not part of the board."""
        gpu = self._driver().gpu()
        return None if gpu.is_integrated else gpu.name

    def open_sampler(self) -> ConditionSampler:
        gpu = self._driver().gpu()
        return open_gpu_sampler(pci_bus_id=gpu.pci_bus_id, is_integrated=gpu.is_integrated)

    def load(
        self,
        path: str | Path,
        *,
        threads: int = 1,
        precision: str = "fp32",
        batch_size: int = 1,
        seed: int = 0,
        flush_denormals: bool = False,
    ) -> EngineSession:
        path = Path(path)
        trt = self._bindings(self.name)
        check_model_file(path)
        cuda = self._activated()
        if is_engine(path):
            plan = self._checked_plan(path, cuda.gpu(), batch_size)
        else:
            plan = self.build(path, precision=precision, batch_size=batch_size).plan
        return self._session(trt, plan, path.name, batch_size, cuda, seed)

    def build(self, path: Path, *, precision: str, batch_size: int, compute_capabilities: Sequence[str] = ()) -> BuiltEngine:
        """Build an engine; TensorRT-RTX needs no GPU for it.

        Raises:
            ModelFileError: The file is missing, is no ONNX model, or does not take this batch.
            RuntimeNotInstalledError: The bindings, or for TensorRT the GPU, are not there.
            RuntimeFailedError: TensorRT cannot build it, or lacks what was asked for.
        """
        trt = self._bindings(self.name)
        gpu = None if Features.of(trt).compute_capabilities else self._activated().gpu()
        options = BuildOptions(
            precision=precision,
            batch_size=batch_size,
            level=self._mode.level,
            compute_capabilities=tuple(compute_capabilities),
            timing_cache=None if gpu is None else self._timing_cache(gpu),
        )
        return build_engine(self.name, trt, path, options, gpu)

    def check_builds(self) -> None:
        """Raises: RuntimeNotInstalledError when something that building needs is not there."""
        if not Features.of(self._bindings(self.name)).compute_capabilities:
            self._driver()

    def runs_here(self, record: EngineRecord) -> bool:
        """Say whether there is a GPU that an engine just built can run on."""
        try:
            gpu = self._driver().gpu()
        except RuntimeNotInstalledError:
            return False
        return not record.compute_capabilities or gpu.compute_capability in record.compute_capabilities

    def _timing_cache(self, gpu: Gpu) -> Path:
        """The file of timed tactics that all builds on this GPU with this version share."""
        return self._cache_folder / f"{slug(gpu.name)}.{self.name}-{self.version()}.cuda-{gpu.driver_cuda}.timing"

    def _driver(self) -> Cuda:
        """The driver, asked nothing that takes memory of the GPU: an agent only watches."""
        if self._cuda is None:
            self._cuda = self._load_cuda()
        return self._cuda

    def _activated(self) -> Cuda:
        """The driver with the GPU ready for work in this thread."""
        cuda = self._driver()
        if not self._is_active:
            cuda.activate(spin_wait=self._mode.spin_wait)
            self._is_active = True
        return cuda

    def _checked_plan(self, path: Path, gpu: Gpu, batch_size: int) -> bytes:
        record = read_record(path)
        if record is not None:
            check_runs_here(path.name, record, EngineHost(self.name, self.version(), gpu.name, gpu.compute_capability))
            if record.batch_size != batch_size:
                raise ModelFileError(
                    f"engine {path.name!r} takes batches of {record.batch_size}, but {batch_size} was asked for; "
                    f"ask for batch_size={record.batch_size} or build it again."
                )
        return path.read_bytes()

    def _session(self, trt: Any, plan: bytes, name: str, batch_size: int, cuda: Cuda, seed: int) -> EngineSession:
        log = make_log(trt)
        engine = trt.Runtime(log).deserialize_cuda_engine(plan)
        context = None if engine is None else _context(trt, engine, self._mode)
        if context is None:
            raise RuntimeFailedError(
                f"{self.name} must load engine {name!r}, but it refused: {log.reason()}; an engine runs only on the version and "
                "the GPU it was built for, so build it on this device from its ONNX file."
            )
        inputs: dict[str, TensorSpec] = {}
        outputs: dict[str, TensorSpec] = {}
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        for tensor in names:
            if engine.get_tensor_mode(tensor) == trt.TensorIOMode.INPUT:
                dims = tuple(None if dim < 0 else int(dim) for dim in engine.get_tensor_shape(tensor))
                spec = TensorSpec(fill_shape(tensor, name, dims, batch_size), _dtype(engine, tensor))
                context.set_input_shape(tensor, spec.shape)
                inputs[tensor] = spec
        for tensor in names:
            if tensor not in inputs:
                shape = tuple(int(dim) for dim in context.get_tensor_shape(tensor))
                outputs[tensor] = TensorSpec(shape, _dtype(engine, tensor))
        return EngineSession(
            name,
            context,
            inputs,
            outputs,
            cuda=cuda,
            mode=self._mode,
            advance=self._virtual.advance,
            owners=(engine, log),
            seed=seed,
        )


def is_engine(path: Path) -> bool:
    """Say whether a file is an engine; plans of TensorRT begin with "ftrt", of RTX with "vtrt", ONNX files with neither."""
    with path.open("rb") as file:
        return file.read(4)[1:] == b"trt"


def _context(trt: Any, engine: Any, mode: TimingMode) -> Any:
    """An execution context whose own use of CUDA graphs, where it has one, leaves the choice to the timing mode."""
    if Features.of(trt).runtime_config and hasattr(trt, "CudaGraphStrategy"):
        config = engine.create_runtime_config()
        config.cuda_graph_strategy = trt.CudaGraphStrategy.DISABLED
        return engine.create_execution_context(config)
    return engine.create_execution_context()


def _dtype(engine: Any, tensor: str) -> str:
    # Not `trt.nptype`: that of 8.5 fails with every numpy since 1.24.
    name = engine.get_tensor_dtype(tensor).name
    if name not in _DTYPES:
        raise ModelFileError(
            f"tensor {tensor!r} must be one of {', '.join(_DTYPES.values())}, but it is {name}; export the model with another type."
        )
    return _DTYPES[name]


def _user_cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "profilers"
