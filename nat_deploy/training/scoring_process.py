"""The inside of a worker process: `python -m nat_deploy.training.scoring_process`.

Reads lines `{"images": PATH, "supernet": PATH, "genes": [[...], ...]}` from standard input and answers each with a line
`{"accuracies": [{"num_right": ..., "num_images": ...}, ...]}` or `{"error": ...}` on standard output.
"""

import json
import os
import queue
import signal
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from nat_deploy.training.scoring_file import load_scoring_file
from nat_deploy.training.workers import SubnetScorer


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asks; this one ends with it
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer
    questions: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(sys.stdin, questions), daemon=True).start()
    scorers: dict[str, SubnetScorer] = {}  # by the file of their images
    loaded: dict[str, str] = {}
    while True:
        question = json.loads(questions.get())
        images, supernet = question["images"], question["supernet"]
        try:
            if images not in scorers:
                scorers[images] = SubnetScorer(load_scoring_file(Path(images)))
            if loaded.get(images) != supernet:
                scorers[images].load(Path(supernet))
                loaded[images] = supernet
            answer: dict[str, Any] = {"accuracies": [asdict(accuracy) for accuracy in scorers[images].score(question["genes"])]}
        except Exception as error:  # whatever it is, the process that asked must say it
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _read(lines: TextIO, questions: queue.SimpleQueue[str]) -> None:
    """Hand on the lines; when there are no more, the process that asked is gone, and nobody waits for an answer."""
    for line in lines:
        questions.put(line)
    os._exit(0)


if __name__ == "__main__":
    main()
