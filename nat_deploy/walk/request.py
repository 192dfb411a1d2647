"""What was asked of a search, kept in the run folder so that `--resume RUN` needs nothing else."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from nat_deploy.errors import FileFormatError
from nat_deploy.files import read_json_document, write_atomically
from nat_deploy.search import ACCURACY

FORMAT = 3
_FILE = "request.json"


@checked(frozen=True, slots=True, kw_only=True, config=ConfigDict(extra="forbid"))
class SearchRequest:
    """A search in the user's words.

    latency_budgets  "20ms" for every device that has none of its own, "phone=35ms"
    budgets          other upper bounds: "macs=300M"
    prefer           what is wanted of the answer: "accuracy", "knee", or weights such as "error=2,latency=1"
    objectives       costs to make small beside the errors and the latencies: "macs", "params", "memory"
    devices          names of the devices whose latencies count
    data             names of data sets, or folders of images; each has an error of its own
    supernet         file; None is the shipped one
    resolutions      image sizes to choose from; None are those of the supernet
    effort           name of a preset
    iterations, first_epochs, further_epochs    instead of the preset's
    profile_minutes  time for the latency table of each device that has none yet
    max_train        most training images of each data set to use
    allow_power_mode the device may be put into its power mode while it measures
    train_on         "cpu", "cuda", or "auto" for the GPU where there is one: where supernets learn
    workers          processes that evaluate networks, or workers on the cluster; None evaluates one network after the other, here
    cluster          address of a Ray cluster whose workers evaluate
    """

    latency_budgets: tuple[str, ...] = ()
    budgets: tuple[str, ...] = ()
    prefer: str = ACCURACY
    objectives: tuple[str, ...] = ("macs", "params")
    devices: tuple[str, ...] = ("cpu",)
    data: tuple[str, ...] = ("digits",)
    supernet: str | None = None
    resolutions: tuple[int, ...] | None = None
    effort: str = "normal"
    iterations: int | None = None
    first_epochs: float | None = None
    further_epochs: float | None = None
    profile_minutes: float = 2.0
    max_train: int | None = None
    finalists: int = 4
    seed: int = 0
    allow_power_mode: bool = False
    train_on: str = "auto"
    workers: int | None = None
    cluster: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Document:
    format: int
    request: SearchRequest


_document = TypeAdapter(_Document)


def save_request(run: Path, request: SearchRequest) -> None:
    write_atomically(run / _FILE, _document.dump_json(_Document(format=FORMAT, request=request), indent=1))


def load_request(run: Path) -> SearchRequest:
    """What was asked of the run in a folder.

    Raises:
        MissingError: It is no run folder.
        FileFormatError: The file is broken or of another format.
    """
    content = read_json_document(run / _FILE)
    if isinstance(content, dict) and content.get("format", FORMAT) != FORMAT:
        raise FileFormatError(
            f"'{run / _FILE}' must have format {FORMAT}, but it has {str(content['format'])[:40]}; "
            "use the version of natdeploy that wrote it, or start a new run"
        )
    try:
        return _document.validate_python(content).request
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(str(part) for part in fault["loc"])
        raise FileFormatError(
            f"'{run / _FILE}' must be a request of natdeploy, but at '{place}': {fault['msg']}; start a new run"
        ) from error
