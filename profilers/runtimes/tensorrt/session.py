"""One engine that is loaded on the GPU and can be timed.

Samples are what the timing mode says. Beside them the parts of a run are kept: "gpu" (CUDA events around the engine),
"copy_in" and "copy_out" (events around the transfers), "enqueue" (the caller's time to hand over the work) and "host" (the
caller's time in all). Events are read after the round, because reading them takes time too.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from profilers.errors import RuntimeFailedError
from profilers.runtimes.base import CheckedSession, TensorSpec
from profilers.runtimes.tensorrt.cuda import Cuda
from profilers.runtimes.tensorrt.timing_mode import TimingMode

if TYPE_CHECKING:
    from profilers.runtimes.base import Array

_MAX_MARKED = 512  # runs of a round whose parts are kept; more would say nothing new
_QUEUE = 2  # trtexec too keeps one run ahead of the one that is waited for


class EngineSession(CheckedSession):
    """Buffers, streams, events and the CUDA graph of one execution context."""

    def __init__(
        self,
        name: str,
        context: Any,
        inputs: Mapping[str, TensorSpec],
        outputs: Mapping[str, TensorSpec],
        *,
        cuda: Cuda,
        mode: TimingMode,
        advance: Callable[[int], None],
        owners: object,
        seed: int,
    ) -> None:
        """Take a context whose input shapes are set.

        Args:
            advance: Moves the clock of the mode "gpu" by so many ns.
            owners: What the context needs to live.
        """
        super().__init__(name, inputs, seed=seed)
        self._context, self._cuda, self._mode, self._advance = context, cuda, mode, advance
        self._owners: object = owners
        self._outputs = dict(outputs)
        queued = mode.measure == "throughput"
        self._stream = cuda.make_stream()
        # Copies of one run overlap with the work of the next only on streams of their own.
        self._copy_streams = tuple(cuda.make_stream() for _ in range(2)) if queued else (self._stream, self._stream)
        self._slots = [_Slot(cuda, {**inputs, **outputs}) for _ in range(_QUEUE if queued else 1)]
        self._marks = _MarkRing(cuda, mode)
        self._next = 0
        try:
            self._prepare()
        except Exception:
            self.close()
            raise

    def take_parts(self) -> dict[str, tuple[int, ...]]:
        """Return the parts of the runs since the last call, in ns, and begin anew."""
        self._finish()
        return self._marks.take(with_copies=self._mode.transfers)

    def _prepare(self) -> None:
        """Run once, since TensorRT sets itself up in the first run; then capture the graphs."""
        for slot in self._slots:
            self._fill(slot)
            self._aim(slot)
            self._execute()
            self._cuda.synchronize(self._stream)
            if self._mode.cuda_graph:
                slot.graph = self._capture()

    def _capture(self) -> int:
        self._cuda.begin_capture(self._stream)
        try:
            self._execute()
        finally:
            try:
                graph = self._cuda.end_capture(self._stream)
            except RuntimeFailedError as error:
                raise RuntimeFailedError(
                    f"{self.name!r} must be an engine that a CUDA graph can hold, but it is not ({error}); "
                    "measure it with the timing mode 'no-graph'."
                ) from error
        return graph

    def _infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        self._finish()
        slot = self._slots[0]
        self._fill(slot, inputs)
        self._aim(slot)
        self._execute()
        for name in self._outputs:
            slot.copy_out(name, self._stream)
        self._cuda.synchronize(self._stream)
        outputs = {name: slot.host[name].copy() for name in self._outputs}
        self._fill(slot)  # what is timed runs on the seeded inputs again
        return outputs

    def _run(self) -> None:
        started = time.perf_counter_ns()
        slot = self._slots[self._next]
        self._next = (self._next + 1) % len(self._slots)
        if slot.mark is not None:
            self._cuda.synchronize_event(slot.mark.done)
        mark = slot.mark = self._marks.next()
        stream, (stream_in, stream_out) = self._stream, self._copy_streams
        if self._mode.transfers:
            self._cuda.record(mark.copy_in, stream_in)
            for name in self.inputs:
                slot.copy_in(name, stream_in)
            self._cuda.record(mark.copied_in, stream_in)
            if stream_in != stream:
                self._cuda.wait_for(stream, mark.copied_in)
        self._cuda.record(mark.start, stream)
        before = time.perf_counter_ns()
        if slot.graph is not None:
            self._cuda.launch(slot.graph, stream)
        else:
            if len(self._slots) > 1:
                self._aim(slot)
            self._execute()
        mark.enqueue_ns = time.perf_counter_ns() - before
        self._cuda.record(mark.end, stream)
        if self._mode.transfers:
            if stream_out != stream:
                self._cuda.wait_for(stream_out, mark.end)
            self._cuda.record(mark.copy_out, stream_out)
            for name in self._outputs:
                slot.copy_out(name, stream_out)
            self._cuda.record(mark.copied_out, stream_out)
        if self._mode.measure != "throughput":
            self._cuda.synchronize_event(mark.done)
            slot.mark = None
        mark.host_ns = time.perf_counter_ns() - started
        if self._mode.measure == "gpu":
            self._advance(max(1, self._cuda.elapsed_ns(mark.copy_in if self._mode.transfers else mark.start, mark.done)))

    def _execute(self) -> None:
        if not self._context.execute_async_v3(self._stream):
            raise RuntimeFailedError(
                f"TensorRT must run {self.name!r}, but it refused; free memory of the GPU and load it again."
            )

    def _aim(self, slot: _Slot) -> None:
        for name, address in slot.device.items():
            if not self._context.set_tensor_address(name, address):
                raise RuntimeFailedError(
                    f"TensorRT must take memory for {name!r} of {self.name!r}, but it refused; load it again."
                )

    def _fill(self, slot: _Slot, inputs: Mapping[str, Array] | None = None) -> None:
        for name, values in (self._made_inputs if inputs is None else inputs).items():
            np.copyto(slot.host[name], values)
            slot.copy_in(name, self._stream)
        self._cuda.synchronize(self._stream)

    def _finish(self) -> None:
        """Wait for all runs that are queued."""
        for stream in (self._stream, *self._copy_streams):
            self._cuda.synchronize(stream)
        for slot in self._slots:
            slot.mark = None

    def _close(self) -> None:
        super()._close()
        self._finish()
        self._context = None
        self._owners = None
        for slot in self._slots:
            slot.close()
        self._marks.close()
        for stream in {self._stream, *self._copy_streams}:
            self._cuda.destroy_stream(stream)


class _Slot:
    """Memory for one run in flight, on the GPU and pinned on the host, and the graph that works on it."""

    def __init__(self, cuda: Cuda, tensors: Mapping[str, TensorSpec]) -> None:
        self._cuda = cuda
        self.graph: int | None = None
        self.mark: _Mark | None = None  # of the run in flight
        self.device: dict[str, int] = {}
        self.host: dict[str, Array] = {}
        self._addresses: dict[str, int] = {}
        for name, spec in tensors.items():
            num_bytes = max(1, int(np.prod(spec.shape, dtype=np.int64)) * np.dtype(spec.dtype).itemsize)
            self.device[name] = cuda.allocate(num_bytes)
            self._addresses[name] = cuda.allocate_host(num_bytes)
            memory = memoryview((ctypes.c_byte * num_bytes).from_address(self._addresses[name])).cast("B")
            self.host[name] = np.frombuffer(memory, dtype=np.dtype(spec.dtype)).reshape(spec.shape)

    def copy_in(self, name: str, stream: int) -> None:
        self._cuda.copy_in(self.device[name], self._addresses[name], self.host[name].nbytes, stream)

    def copy_out(self, name: str, stream: int) -> None:
        self._cuda.copy_out(self._addresses[name], self.device[name], self.host[name].nbytes, stream)

    def close(self) -> None:
        if self.graph is not None:
            self._cuda.destroy_graph(self.graph)
        self.host = {}
        for address in self.device.values():
            self._cuda.free(address)
        for address in self._addresses.values():
            self._cuda.free_host(address)


class _Mark:
    """Events of one run; without transfers only two are used."""

    def __init__(self, cuda: Cuda, mode: TimingMode) -> None:
        made = [cuda.make_event(spin_wait=mode.spin_wait) for _ in range(6 if mode.transfers else 2)]
        self.events = tuple(made)
        self.start, self.end = made[:2]
        self.copy_in, self.copied_in, self.copy_out, self.copied_out = made[2:] if mode.transfers else (0, 0, 0, 0)
        self.done = self.copied_out if mode.transfers else self.end
        self.enqueue_ns = 0
        self.host_ns = 0


class _MarkRing:
    """Marks that are used in turn; those of the first runs of a round are read after it."""

    def __init__(self, cuda: Cuda, mode: TimingMode) -> None:
        self._cuda = cuda
        self._all = [_Mark(cuda, mode) for _ in range(_MAX_MARKED + _QUEUE)]
        self._count = 0

    def next(self) -> _Mark:
        # Past the ring, the last few take turns, so that the marks of the first runs stay.
        index = self._count if self._count < _MAX_MARKED else _MAX_MARKED + self._count % _QUEUE
        self._count += 1
        return self._all[index]

    def take(self, *, with_copies: bool) -> dict[str, tuple[int, ...]]:
        used = self._all[: min(self._count, _MAX_MARKED)]
        self._count = 0
        elapsed = self._cuda.elapsed_ns
        parts = {
            "gpu": tuple(elapsed(mark.start, mark.end) for mark in used),
            "enqueue": tuple(mark.enqueue_ns for mark in used),
            "host": tuple(mark.host_ns for mark in used),
        }
        if with_copies:
            parts["copy_in"] = tuple(elapsed(mark.copy_in, mark.copied_in) for mark in used)
            parts["copy_out"] = tuple(elapsed(mark.copy_out, mark.copied_out) for mark in used)
        return parts

    def close(self) -> None:
        for mark in self._all:
            for event in mark.events:
                self._cuda.destroy_event(event)
        self._all = []
