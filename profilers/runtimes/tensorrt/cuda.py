"""The few functions of the CUDA driver that timing needs, called directly.

The driver library comes with the graphics driver, so it is there wherever a GPU works: no CUDA toolkit, no Python package. It
shares its context with TensorRT, which uses the primary context of the device too.

Source: CUDA driver API, https://docs.nvidia.com/cuda/cuda-driver-api (functions with `_v2` are those that `cuda.h` maps the plain
names to).
"""

from __future__ import annotations

import ctypes
import sys
from ctypes import POINTER, byref, c_char_p, c_float, c_int, c_size_t, c_uint, c_ulonglong, c_void_p
from dataclasses import dataclass
from typing import Any

from profilers.errors import RuntimeFailedError, RuntimeNotInstalledError

_LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_NO_DEVICE = 100
_FUNCTIONS = {
    "cuInit": (c_uint,),
    "cuGetErrorString": (c_int, POINTER(c_char_p)),
    "cuDriverGetVersion": (POINTER(c_int),),
    "cuDeviceGetCount": (POINTER(c_int),),
    "cuDeviceGet": (POINTER(c_int), c_int),
    "cuDeviceGetName": (c_char_p, c_int, c_int),
    "cuDeviceGetAttribute": (POINTER(c_int), c_int, c_int),
    "cuDeviceGetPCIBusId": (c_char_p, c_int, c_int),
    "cuDevicePrimaryCtxSetFlags_v2": (c_int, c_uint),
    "cuDevicePrimaryCtxRetain": (POINTER(c_void_p), c_int),
    "cuCtxSetCurrent": (c_void_p,),
    "cuMemAlloc_v2": (POINTER(c_void_p), c_size_t),
    "cuMemFree_v2": (c_void_p,),
    "cuMemHostAlloc": (POINTER(c_void_p), c_size_t, c_uint),
    "cuMemFreeHost": (c_void_p,),
    "cuMemcpyHtoDAsync_v2": (c_void_p, c_void_p, c_size_t, c_void_p),
    "cuMemcpyDtoHAsync_v2": (c_void_p, c_void_p, c_size_t, c_void_p),
    "cuStreamCreate": (POINTER(c_void_p), c_uint),
    "cuStreamDestroy_v2": (c_void_p,),
    "cuStreamSynchronize": (c_void_p,),
    "cuStreamWaitEvent": (c_void_p, c_void_p, c_uint),
    "cuStreamBeginCapture_v2": (c_void_p, c_int),
    "cuStreamEndCapture": (c_void_p, POINTER(c_void_p)),
    "cuGraphInstantiateWithFlags": (POINTER(c_void_p), c_void_p, c_ulonglong),
    "cuGraphLaunch": (c_void_p, c_void_p),
    "cuGraphExecDestroy": (c_void_p,),
    "cuGraphDestroy": (c_void_p,),
    "cuEventCreate": (POINTER(c_void_p), c_uint),
    "cuEventDestroy_v2": (c_void_p,),
    "cuEventRecord": (c_void_p, c_void_p),
    "cuEventSynchronize": (c_void_p,),
    "cuEventElapsedTime": (POINTER(c_float), c_void_p, c_void_p),
}
_CAPABILITY_MAJOR, _CAPABILITY_MINOR, _INTEGRATED = 75, 76, 18  # CUdevice_attribute
_SCHEDULE_SPIN, _SCHEDULE_BLOCKING = 1, 4  # CUctx_flags
_STREAM_NON_BLOCKING = 1
_EVENT_BLOCKING = 1
_CAPTURE_THREAD_LOCAL = 1


@dataclass(frozen=True)
class Gpu:
    """The first GPU that the driver shows; `CUDA_VISIBLE_DEVICES` chooses another."""

    name: str  # "NVIDIA H200"
    compute_capability: str  # "9.0"
    driver_cuda: str  # newest CUDA that the driver can run: "12.4"
    is_integrated: bool  # shares its memory with the CPU, as on a Jetson
    pci_bus_id: str


class Cuda:
    """One GPU. Addresses, streams, events and graphs are plain numbers, as TensorRT takes them."""

    def __init__(self, library: Any) -> None:
        """Take a loaded driver library.

        Raises:
            RuntimeNotInstalledError: The driver cannot start, shows no GPU, or is too old.
        """
        self._library = library
        try:
            for name, arguments in _FUNCTIONS.items():
                function = getattr(library, name)
                function.argtypes, function.restype = list(arguments), c_int
        except AttributeError as error:
            raise RuntimeNotInstalledError(
                f"the NVIDIA driver must be one for CUDA 11.4 or newer, but it lacks a function ({error}); update it."
            ) from error
        self._start()

    @staticmethod
    def load() -> Cuda:
        """Raises: RuntimeNotInstalledError when there is no driver or no GPU."""
        try:
            return Cuda(ctypes.CDLL(_LIBRARY))
        except OSError as error:
            raise RuntimeNotInstalledError(
                f"an NVIDIA GPU with its driver is needed, but the library {_LIBRARY} cannot be loaded here; "
                "use a machine with a GPU, and start a container with its GPU passed in."
            ) from error

    def _start(self) -> None:
        code = self._library.cuInit(0)
        count, device = c_int(), c_int()
        if code == 0:
            code = self._library.cuDeviceGetCount(byref(count))
        if code not in (0, _NO_DEVICE):
            raise RuntimeNotInstalledError(
                f"the NVIDIA driver must start, but it says {self._reason(code)!r}; check it with nvidia-smi."
            )
        if code == _NO_DEVICE or count.value == 0:
            raise RuntimeNotInstalledError("an NVIDIA GPU is needed, but the driver shows none; check it with nvidia-smi.")
        self._call("cuDeviceGet", byref(device), 0)
        self._device = device.value

    def gpu(self) -> Gpu:
        name, bus = ctypes.create_string_buffer(256), ctypes.create_string_buffer(64)
        version = c_int()
        self._call("cuDeviceGetName", name, len(name), self._device)
        self._call("cuDeviceGetPCIBusId", bus, len(bus), self._device)
        self._call("cuDriverGetVersion", byref(version))
        return Gpu(
            name=name.value.decode("utf-8", "replace"),
            compute_capability=f"{self._attribute(_CAPABILITY_MAJOR)}.{self._attribute(_CAPABILITY_MINOR)}",
            driver_cuda=f"{version.value // 1000}.{version.value % 1000 // 10}",
            is_integrated=bool(self._attribute(_INTEGRATED)),
            pci_bus_id=bus.value.decode("ascii", "replace"),
        )

    def activate(self, *, spin_wait: bool) -> None:
        """Make the primary context current in this thread; how it waits holds for the whole process."""
        context = c_void_p()
        self._call("cuDevicePrimaryCtxSetFlags_v2", self._device, _SCHEDULE_SPIN if spin_wait else _SCHEDULE_BLOCKING)
        self._call("cuDevicePrimaryCtxRetain", byref(context), self._device)
        self._call("cuCtxSetCurrent", context)

    def allocate(self, num_bytes: int) -> int:
        """Memory of the GPU."""
        return self._made("cuMemAlloc_v2", num_bytes)

    def free(self, address: int) -> None:
        self._call("cuMemFree_v2", address)

    def allocate_host(self, num_bytes: int) -> int:
        """Memory of this process that the GPU reads and writes by itself, as asynchronous copies need it."""
        return self._made("cuMemHostAlloc", num_bytes, 0)

    def free_host(self, address: int) -> None:
        self._call("cuMemFreeHost", address)

    def copy_in(self, device: int, host: int, num_bytes: int, stream: int) -> None:
        self._call("cuMemcpyHtoDAsync_v2", device, host, num_bytes, stream)

    def copy_out(self, host: int, device: int, num_bytes: int, stream: int) -> None:
        self._call("cuMemcpyDtoHAsync_v2", host, device, num_bytes, stream)

    def make_stream(self) -> int:
        return self._made("cuStreamCreate", _STREAM_NON_BLOCKING)

    def destroy_stream(self, stream: int) -> None:
        self._call("cuStreamDestroy_v2", stream)

    def synchronize(self, stream: int) -> None:
        self._call("cuStreamSynchronize", stream)

    def wait_for(self, stream: int, event: int) -> None:
        """Let the stream, not this process, wait."""
        self._call("cuStreamWaitEvent", stream, event, 0)

    def make_event(self, *, spin_wait: bool) -> int:
        return self._made("cuEventCreate", 0 if spin_wait else _EVENT_BLOCKING)

    def destroy_event(self, event: int) -> None:
        self._call("cuEventDestroy_v2", event)

    def record(self, event: int, stream: int) -> None:
        self._call("cuEventRecord", event, stream)

    def synchronize_event(self, event: int) -> None:
        self._call("cuEventSynchronize", event)

    def elapsed_ns(self, start: int, end: int) -> int:
        """Time between two events that have happened; the driver's resolution is about half a microsecond."""
        milliseconds = c_float()
        self._call("cuEventElapsedTime", byref(milliseconds), start, end)
        return round(milliseconds.value * 1e6)

    def begin_capture(self, stream: int) -> None:
        """From here, work for the stream is written down instead of done."""
        self._call("cuStreamBeginCapture_v2", stream, _CAPTURE_THREAD_LOCAL)

    def end_capture(self, stream: int) -> int:
        """Return a graph that can be launched."""
        captured = self._made_by_stream("cuStreamEndCapture", stream)
        try:
            return self._made("cuGraphInstantiateWithFlags", captured, 0)
        finally:
            self._call("cuGraphDestroy", captured)

    def launch(self, graph: int, stream: int) -> None:
        self._call("cuGraphLaunch", graph, stream)

    def destroy_graph(self, graph: int) -> None:
        self._call("cuGraphExecDestroy", graph)

    def _attribute(self, number: int) -> int:
        value = c_int()
        self._call("cuDeviceGetAttribute", byref(value), number, self._device)
        return value.value

    def _made(self, function: str, *arguments: Any) -> int:
        handle = c_void_p()
        self._call(function, byref(handle), *arguments)
        return handle.value or 0

    def _made_by_stream(self, function: str, stream: int) -> int:
        handle = c_void_p()
        self._call(function, stream, byref(handle))
        return handle.value or 0

    def _call(self, function: str, *arguments: Any) -> None:
        code = getattr(self._library, function)(*arguments)
        if code != 0:
            raise RuntimeFailedError(
                f"the GPU must do its work, but {function} failed ({self._reason(code)}); "
                "close other programs that use the GPU, or restart the device."
            )

    def _reason(self, code: int) -> str:
        text = c_char_p()
        self._library.cuGetErrorString(code, byref(text))
        return (text.value or b"unknown error").decode("ascii", "replace") + f", code {code}"
