"""Where words go: answers to standard output, everything else to standard error."""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from nat_deploy.profiling import ProfileProgress
    from nat_deploy.search import SearchEvent


def answer(text: str, document: Mapping[str, object], *, as_json: bool) -> None:
    """Print the result of a command: for people, or as one JSON document and nothing else."""
    print(json.dumps(document) if as_json else text)


def tell(message: str) -> None:
    """A message beside the result."""
    print(message, file=sys.stderr, flush=True)


def tell_of_waiting(event: Mapping[str, object]) -> None:
    """Of a device's events the one that a person must know of, or nothing seems to happen: another profiler holds it."""
    if event.get("event") == "waiting":
        tell(str(event["message"]))


@contextmanager
def progress_bar(*, resume: str = "natdeploy search --resume") -> Iterator["ProgressBar"]:
    """Progress on standard error; where that is not a terminal, a line when a step begins. `resume` and a run folder continue what was stopped."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description:<34}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        yield ProgressBar(progress, plain=not console.is_terminal, resume=resume)


class ProgressBar:
    """One bar per step, made when the step is first told of."""

    def __init__(self, progress: Progress, *, plain: bool, resume: str) -> None:
        self._progress = progress
        self._plain = plain
        self._resume = resume
        self._tasks: dict[str, TaskID] = {}
        self._adaptations = 0

    def update(self, step: str, done: int, total: int, note: str = "") -> None:
        if step not in self._tasks:
            self._tasks[step] = self._progress.add_task(step, total=total)
            if self._plain:
                tell(f"{step} ...")
        self._progress.update(self._tasks[step], completed=done, total=total, description=f"{step}, {note}" if note else step)

    # What a search tells (`nat_deploy.walk.SearchListener`).

    def on_begin(self, run: Path) -> None:
        tell(f"run folder {run}; if it is stopped: {self._resume} {run}")

    def on_decode(self, done: int, total: int) -> None:
        self.update("reading images", done, total)

    def on_profile(self, progress: "ProfileProgress") -> None:
        error = "" if progress.mape is None else f", error {100 * progress.mape:.1f} %"
        self.update("measuring the device", round(100 * progress.share), 100, f"{progress.num_networks} networks{error}")

    def on_train(self, done: int, total: int) -> None:
        if done == 1:
            self._adaptations += 1
        self.update(f"adapting the supernet, {self._adaptations}", done, total)

    def on_search(self, event: "SearchEvent") -> None:
        if event.step == "adapt":
            return  # `on_train` tells more
        if event.step == "evaluate":
            name = "evaluating the first networks" if event.iteration == 0 else f"evaluating, iteration {event.iteration}"
            self.update(name, event.done, event.total)
        elif event.step in ("evolve", "measure", "measure finalists", "check budgets"):
            name = f"{event.step}, iteration {event.iteration}" if event.step in ("evolve", "measure") else event.step
            self.update(name, event.done, event.total)
