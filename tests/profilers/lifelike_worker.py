"""A worker whose models do what their file says: "steady", "crash", "hang", "refuse" or "compile" (loads slowly); run as a script."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from profilers import worker
from profilers.runtimes.fake import FakeRuntime, FakeSession, VirtualClock


class LifelikeSession(FakeSession):
    def __init__(self, path: Path, clock: VirtualClock, *, batch_size: int, seed: int) -> None:
        super().__init__(path.name, clock, lambda name, now: 1_000_000, batch_size=batch_size, seed=seed)
        self.behaviour = path.read_text().split()[0]
        self.num_runs = 0

    def _run(self) -> None:
        self.num_runs += 1
        if self.num_runs > 30 and self.behaviour == "crash":
            print("native code went wrong", file=sys.stderr, flush=True)
            os.abort()
        if self.num_runs > 30 and self.behaviour == "hang":
            time.sleep(3600)
        if self.num_runs > 30 and self.behaviour == "refuse":
            self._duration_ns = lambda name, now: 0
        if self.behaviour == "slow":
            time.sleep(0.001)
        super()._run()


class LifelikeRuntime(FakeRuntime):
    def __init__(self) -> None:
        super().__init__(lambda name, now: 1_000_000)

    def load(
        self,
        path: str | Path,
        *,
        threads: int = 1,
        precision: str = "fp32",
        batch_size: int = 1,
        seed: int = 0,
        flush_denormals: bool = False,
    ) -> FakeSession:
        print("chatter of a native library")  # must not reach the stream of events
        os.write(1, b"more chatter\n")
        if Path(path).read_text().startswith("compile"):
            time.sleep(2.5)
        return LifelikeSession(Path(path), self.clock, batch_size=batch_size, seed=seed)


if __name__ == "__main__":
    sys.exit(worker.main(lambda name: LifelikeRuntime()))
