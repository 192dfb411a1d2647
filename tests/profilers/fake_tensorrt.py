"""TensorRT without a GPU: the bindings of one version, with only the names that this version has, over a driver in memory.

The names lie in `tensorrt_names.json`; they were read off the real packages with `dir()`: TensorRT's own wheels of 8.5.3,
8.6.1, 10.3, 10.16 and 11.4 over empty libraries, and TensorRT-RTX 1.7 as it is. What uses a name that a version lacks fails here
as it would there. Engines compute with ONNX's reference; time passes on the GPU only.
"""

from __future__ import annotations

import base64
import ctypes
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from profilers.errors import RuntimeFailedError
from profilers.runtimes.tensorrt.cuda import Cuda, Gpu

NAMES: dict[str, dict[str, str]] = json.loads(Path(__file__).with_name("tensorrt_names.json").read_text())
TENSORRT = tuple(name for name in NAMES if not name.startswith("tensorrt-rtx"))
RTX = next(name for name in NAMES if name.startswith("tensorrt-rtx"))

GPU = Gpu(name="NVIDIA Test 100", compute_capability="8.6", driver_cuda="12.4", is_integrated=False, pci_bus_id="0000:01:00.0")
COPY_NS, KERNEL_NS = 2_000, 50_000


class FakeCuda(Cuda):
    """A driver whose work is done at once, in the order of the streams, while a clock of the GPU counts."""

    def __init__(self, gpu: Gpu = GPU) -> None:
        self._gpu = gpu
        self.memory: dict[int, Any] = {}
        self.streams: dict[int, int] = {}  # handle -> time of the GPU in ns at which the stream is idle
        self.events: dict[int, int | None] = {}
        self.graphs: dict[int, list[Callable[[int], None]]] = {}
        self.capturing: list[Callable[[int], None]] | None = None
        self.refuses_capture = False
        self.spin_wait: bool | None = None
        self.calls: list[str] = []
        self._handles = iter(range(1, 1_000_000))

    def gpu(self) -> Gpu:
        return self._gpu

    def activate(self, *, spin_wait: bool) -> None:
        self.spin_wait = spin_wait

    def allocate(self, num_bytes: int) -> int:
        buffer = ctypes.create_string_buffer(num_bytes)
        self.memory[ctypes.addressof(buffer)] = buffer
        return ctypes.addressof(buffer)

    allocate_host = allocate

    def free(self, address: int) -> None:
        del self.memory[address]

    free_host = free

    def copy_in(self, device: int, host: int, num_bytes: int, stream: int) -> None:
        self.calls.append("copy_in")
        self.do(stream, COPY_NS, lambda: ctypes.memmove(device, host, num_bytes))

    def copy_out(self, host: int, device: int, num_bytes: int, stream: int) -> None:
        self.calls.append("copy_out")
        self.do(stream, COPY_NS, lambda: ctypes.memmove(host, device, num_bytes))

    def make_stream(self) -> int:
        handle = next(self._handles)
        self.streams[handle] = 0
        return handle

    def destroy_stream(self, stream: int) -> None:
        del self.streams[stream]

    def synchronize(self, stream: int) -> None:
        assert stream in self.streams
        assert self.capturing is None, "a stream must not be waited for while it is captured"

    def wait_for(self, stream: int, event: int) -> None:
        happened = self.events[event]
        assert happened is not None, "a stream waits for an event that was never recorded"
        self.streams[stream] = max(self.streams[stream], happened)

    def make_event(self, *, spin_wait: bool) -> int:
        handle = next(self._handles)
        self.events[handle] = None
        return handle

    def destroy_event(self, event: int) -> None:
        del self.events[event]

    def record(self, event: int, stream: int) -> None:
        assert event in self.events
        self.events[event] = self.streams[stream]

    def synchronize_event(self, event: int) -> None:
        assert self.events[event] is not None, "an event is waited for that was never recorded"

    def elapsed_ns(self, start: int, end: int) -> int:
        first, last = self.events[start], self.events[end]
        assert first is not None
        assert last is not None
        return last - first

    def begin_capture(self, stream: int) -> None:
        self.capturing = []

    def end_capture(self, stream: int) -> int:
        captured, self.capturing = self.capturing, None
        if self.refuses_capture or captured is None:
            raise RuntimeFailedError("the GPU must do its work, but cuStreamEndCapture failed; restart the device.")
        handle = next(self._handles)
        self.graphs[handle] = captured
        return handle

    def launch(self, graph: int, stream: int) -> None:
        self.calls.append("launch")
        for work in self.graphs[graph]:
            work(stream)

    def destroy_graph(self, graph: int) -> None:
        del self.graphs[graph]

    def do(self, stream: int, duration_ns: int, work: Callable[[], object]) -> None:
        """Do work of a stream now, or write it down while the stream is captured."""

        def step(stream: int) -> None:
            self.streams[stream] += duration_ns
            work()

        if self.capturing is None:
            step(stream)
        else:
            self.capturing.append(step)


class _Member:
    """One value of an enumeration of the bindings."""

    def __init__(self, name: str, value: int) -> None:
        self.name = name
        self.value = value

    def __int__(self) -> int:
        return self.value


def make_bindings(version: str, cuda: FakeCuda) -> Any:
    """The module of one version, by its key in `NAMES`."""
    names = {kind: members.split() for kind, members in NAMES[version].items()}
    number = version.split()[1]
    module = SimpleNamespace(__version__=number, cuda=cuda)
    for kind, implementation in _CLASSES.items():
        if kind in names:
            setattr(module, kind, _restricted(kind, implementation, names[kind], module))
    for kind in _ENUMERATIONS:
        if kind in names:
            members = [name for name in names[kind] if name.isupper()]
            setattr(module, kind, type(kind, (), {name: _Member(name, place) for place, name in enumerate(members)}))
    for place, name in enumerate(("INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE")):
        setattr(module.ILogger, name, _Member(name, place))
    return module


_ENUMERATIONS = (
    "BuilderFlag", "NetworkDefinitionCreationFlag", "TensorIOMode", "DataType", "TacticSource", "ComputeCapability",
    "CudaGraphStrategy",
)  # fmt: skip


def _restricted(kind: str, implementation: type, allowed: list[str], module: Any) -> type:
    """The class with the members that the version has; setting any other fails too, as with real bindings."""

    def set_allowed(self: Any, name: str, value: object) -> None:
        if not name.startswith("_") and name not in allowed and kind != "ILogger":
            raise AttributeError(f"{kind} has no attribute {name!r} in TensorRT {module.__version__}")
        object.__setattr__(self, name, value)

    unknown = [name for name in vars(implementation) if not name.startswith("_") and not _anywhere(kind, name)]
    assert not unknown, f"no version of {kind} has {unknown}"
    members = {name: value for name, value in vars(implementation).items() if name.startswith("_") or name in allowed}
    members.pop("__dict__", None)
    members.pop("__weakref__", None)
    return type(kind, (), {**members, "_trt": module, "__setattr__": set_allowed})


def _anywhere(kind: str, name: str) -> bool:
    return any(name in classes.get(kind, "").split() for classes in NAMES.values())


class _Logger:
    def log(self, severity: _Member, message: str) -> None:
        raise NotImplementedError


class _HostMemory(bytes):
    nbytes = 0


class _Builder:
    _trt: Any

    def __init__(self, log: Any) -> None:
        assert hasattr(log, "log")
        self._log = log

    def create_network(self, flags: int) -> Any:
        return self._trt.INetworkDefinition(flags)

    def create_builder_config(self) -> Any:
        return self._trt.IBuilderConfig()

    def create_optimization_profile(self) -> Any:
        return self._trt.IOptimizationProfile()

    def build_serialized_network(self, network: Any, config: Any) -> bytes | None:
        shapes = config._profile._shapes if config._profile else {}
        for tensor in network._inputs:
            if -1 in tensor.shape and tensor.name not in shapes:
                self._log.log(self._trt.ILogger.ERROR, f"{tensor.name} has dynamic dimensions but no profile")
                return None
        config._cache = (config._cache or b"") + b"tactic;"
        plan = {
            "version": self._trt.__version__,
            "gpu": self._trt.cuda.gpu().name,
            "onnx": base64.b64encode(network._onnx).decode("ascii"),
            "shapes": {name: list(shape) for name, shape in shapes.items()},
        }
        return b"ftrt" + json.dumps(plan).encode()


class _Network:
    def __init__(self, flags: int) -> None:
        self._flags = flags
        self._onnx = b""
        self._inputs: list[Any] = []

    @property
    def num_inputs(self) -> int:
        return len(self._inputs)

    @property
    def num_layers(self) -> int:
        return len(onnx.load_from_string(self._onnx).graph.node)

    def get_input(self, index: int) -> Any:
        return self._inputs[index]


class _Tensor:
    def __init__(self, name: str, shape: tuple[int, ...]) -> None:
        self.name = name
        self.shape = shape

    name = ""
    shape: tuple[int, ...] = ()


class _Parser:
    _trt: Any

    def __init__(self, network: Any, log: Any) -> None:
        self._network = network
        self._errors: list[str] = []

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> Any:
        return self._trt.ParserError(self._errors[index])

    def parse(self, content: bytes) -> bool:
        try:
            model = onnx.load_from_string(content)
            onnx.checker.check_model(model)
        except Exception as error:  # whatever protobuf or the checker raises
            self._errors.append(f"cannot be deserialised: {error}")
            return False
        self._network._onnx = content
        for item in model.graph.input:
            dims = item.type.tensor_type.shape.dim
            self._network._inputs.append(self._trt.ITensor(item.name, tuple(dim.dim_value or -1 for dim in dims)))
        return True


class _ParserError:
    def __init__(self, text: str) -> None:
        self._text = text

    def desc(self) -> str:
        return self._text


class _Profile:
    def __init__(self) -> None:
        self._shapes: dict[str, tuple[int, ...]] = {}

    def set_shape(self, name: str, least: tuple[int, ...], best: tuple[int, ...], most: tuple[int, ...]) -> None:
        assert least == best == most
        self._shapes[name] = best


class _Cache:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def serialize(self) -> bytes:
        return self._content


class _Config:
    _trt: Any

    def __init__(self) -> None:
        self._flags = {"TF32"}
        self._sources = 0b11111
        self._profile: Any = None
        self._cache: bytes | None = None
        self._capabilities: dict[int, str] = {}

    avg_timing_iterations = 1
    builder_optimization_level = 3
    num_compute_capabilities = 1

    def set_flag(self, flag: _Member) -> None:
        self._flags.add(flag.name)

    def clear_flag(self, flag: _Member) -> None:
        self._flags.discard(flag.name)

    def get_flag(self, flag: _Member) -> bool:
        return flag.name in self._flags

    def get_tactic_sources(self) -> int:
        return self._sources

    def set_tactic_sources(self, sources: int) -> bool:
        self._sources = sources
        return True

    def add_optimization_profile(self, profile: Any) -> int:
        self._profile = profile
        return 0

    def create_timing_cache(self, content: bytes) -> Any:
        return self._trt.ITimingCache(content)

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        if cache.serialize().startswith(b"foreign"):
            return False
        self._cache = cache.serialize()
        return True

    def get_timing_cache(self) -> Any:
        return self._trt.ITimingCache(self._cache or b"")

    def set_compute_capability(self, capability: _Member, index: int) -> bool:
        assert index < self.num_compute_capabilities
        self._capabilities[index] = capability.name
        return True


class _Runtime:
    _trt: Any

    def __init__(self, log: Any) -> None:
        self._log = log

    def deserialize_cuda_engine(self, plan: bytes) -> Any:
        try:
            found = json.loads(plan[4:])
        except ValueError:
            self._log.log(self._trt.ILogger.ERROR, "the plan is corrupt")
            return None
        if (found["version"], found["gpu"]) != (self._trt.__version__, self._trt.cuda.gpu().name):
            self._log.log(self._trt.ILogger.ERROR, "the plan was built for another version or GPU")
            return None
        return self._trt.ICudaEngine(found)


class _Engine:
    _trt: Any

    def __init__(self, plan: Mapping[str, Any]) -> None:
        self._model = onnx.load_from_string(base64.b64decode(plan["onnx"]))
        self._shapes = {name: tuple(shape) for name, shape in plan["shapes"].items()}
        graph = self._model.graph
        self._tensors = {item.name: item for item in (*graph.input, *graph.output)}
        self._num_inputs = len(graph.input)

    @property
    def num_io_tensors(self) -> int:
        return len(self._tensors)

    def get_tensor_name(self, index: int) -> str:
        return list(self._tensors)[index]

    def get_tensor_mode(self, name: str) -> _Member:
        is_input = list(self._tensors).index(name) < self._num_inputs
        mode: _Member = self._trt.TensorIOMode.INPUT if is_input else self._trt.TensorIOMode.OUTPUT
        return mode

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(dim.dim_value or -1 for dim in self._tensors[name].type.tensor_type.shape.dim)

    def get_tensor_dtype(self, name: str) -> _Member:
        kind = {1: "FLOAT", 10: "HALF", 3: "INT8", 7: "INT64"}[self._tensors[name].type.tensor_type.elem_type]
        return _Member(kind, 0)

    def create_runtime_config(self) -> Any:
        return self._trt.IRuntimeConfig()

    def create_execution_context(self, config: Any = None) -> Any:
        return self._trt.IExecutionContext(self)


class _RuntimeConfig:
    cuda_graph_strategy: Any = None


class _Context:
    _trt: Any

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self._evaluator = ReferenceEvaluator(engine._model)
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        wanted = self._engine._shapes.get(name, tuple(self._engine.get_tensor_shape(name)))
        assert tuple(shape) == wanted, "the shape lies outside the profile"
        self._shapes[name] = tuple(shape)
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        batch = next(iter(self._shapes.values()))[0]
        return tuple(batch if dim < 0 else dim for dim in self._engine.get_tensor_shape(name))

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return address in self._trt.cuda.memory

    def execute_async_v3(self, stream: int) -> bool:
        addresses = dict(self._addresses)  # what is captured keeps the memory of that moment
        self._trt.cuda.do(stream, KERNEL_NS, lambda: self._compute(addresses))
        return True

    def _compute(self, addresses: Mapping[str, int]) -> None:
        inputs = {name: self._array(name, addresses[name]) for name in self._shapes}
        names = [item.name for item in self._engine._model.graph.output]
        for name, values in zip(names, self._evaluator.run(names, inputs), strict=True):
            np.copyto(self._array(name, addresses[name]), values)

    def _array(self, name: str, address: int) -> Any:
        shape = self._shapes.get(name) or self.get_tensor_shape(name)
        dtype = {"FLOAT": np.float32, "HALF": np.float16, "INT8": np.int8, "INT64": np.int64}[
            self._engine.get_tensor_dtype(name).name
        ]
        num_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return np.frombuffer((ctypes.c_byte * num_bytes).from_address(address), dtype=dtype).reshape(shape)


_CLASSES: dict[str, type] = {
    "ILogger": _Logger,
    "Builder": _Builder,
    "INetworkDefinition": _Network,
    "ITensor": _Tensor,
    "OnnxParser": _Parser,
    "ParserError": _ParserError,
    "IOptimizationProfile": _Profile,
    "ITimingCache": _Cache,
    "IBuilderConfig": _Config,
    "Runtime": _Runtime,
    "ICudaEngine": _Engine,
    "IRuntimeConfig": _RuntimeConfig,
    "IExecutionContext": _Context,
}
