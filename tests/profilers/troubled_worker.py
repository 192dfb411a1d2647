"""A worker of any runtime, in which models called "hangs" and "dies" do so in the middle; run as `troubled_worker.py NAME FOLDER`."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from profilers.runtimes.base import Runtime

_STEADY_RUNS = 3


def troubled(runtime: Runtime) -> Runtime:
    load = runtime.load

    def load_troubled(path: str | Path, **settings: Any) -> Any:
        session: Any = load(path, **settings)
        trouble = {"hangs": lambda: time.sleep(3600), "dies": lambda: os.kill(os.getpid(), signal.SIGKILL)}.get(Path(path).stem)
        if trouble is not None:
            for name in ("run", "run_many"):
                if hasattr(session, name):
                    setattr(session, name, _after_some_calls(getattr(session, name), trouble))
        return session

    runtime.load = load_troubled  # type: ignore[method-assign]
    return runtime


def _after_some_calls(call: Callable[..., Any], trouble: Callable[[], object]) -> Callable[..., Any]:
    left = _STEADY_RUNS

    def called(*arguments: Any, **more: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            trouble()
        return call(*arguments, **more)

    return called


if __name__ == "__main__":
    # Packages take seconds to import; the agent hears first that there is a worker.
    print('{"event":"progress","id":"","stage":"load"}', flush=True)
    from profilers import worker
    from tests.profilers.opened_runtimes import open_for_test

    sys.exit(worker.main(lambda _: troubled(open_for_test(sys.argv[1], Path(sys.argv[2])))))
