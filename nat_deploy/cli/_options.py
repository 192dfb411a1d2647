"""Options that several commands share, and how their values are read."""

import re
from pathlib import Path
from typing import Annotated

import typer

from nat_deploy.errors import InputError

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
DeviceName = Annotated[str, typer.Option("--device", help="Device: cpu, gpu, or a name in devices.toml.")]
AllowPowerMode = Annotated[
    bool, typer.Option("--allow-power-mode", help="Put a Jetson into the power mode of its description, and back.")
]
Threads = Annotated[int | None, typer.Option(min=1, help="Instead of the device's: another target, with tables of its own.")]
BatchSize = Annotated[int | None, typer.Option(min=1, help="Instead of the device's: another target, with tables of its own.")]
Workers = Annotated[
    int | None,
    typer.Option(
        help="Processes that evaluate networks, at most one per CPU core; by default networks are evaluated one after the other. "
        "With --cluster, workers there."
    ),
]
TrainOn = Annotated[
    str,
    typer.Option(
        "--train-on", help="Where networks are trained: cpu, cuda, or by default the GPU of this machine if there is one."
    ),
]
Cluster = Annotated[
    str | None, typer.Option(help="Address of a Ray cluster that evaluates networks: HOST:PORT, auto, or local for this machine.")
]
PrecisionName = Annotated[
    str | None,
    typer.Option("--precision", help="fp32, fp16 or int8, instead of the device's: another target, with tables of its own."),
]
Subnet = Annotated[Path, typer.Argument(help="A subnet.json, or a file that NAT or Once-for-all published.")]


def parse_resolutions(text: str | None) -> tuple[int, ...] | None:
    """Read "32-64" (in steps of 8), "128-256:4" or "32,48,64".

    Raises:
        InputError: It is none of these.
    """
    if text is None:
        return None
    try:
        if "-" in text:
            span, _, step = text.partition(":")
            first, last = (int(part) for part in span.split("-"))
            sizes = tuple(range(first, last + 1, int(step or 8)))
        else:
            sizes = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        sizes = ()
    if not sizes or sizes[0] < 32 or sizes[-1] > 1024:
        raise InputError(
            f"resolutions must be image sizes of 32 to 1024 pixels, but they are '{text}'; write 32-64, 128-256:4 or 32,48,64"
        )
    return sizes


def parse_counts(option: str, text: str | None) -> tuple[int, ...]:
    """Read "8" or "1,8,32", each number once; nothing where the option was not given.

    Raises:
        InputError: It is neither.
    """
    if text is None:
        return ()
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch(r"[1-9][0-9]{0,4}", part) for part in parts):
        raise InputError(f"{option} must be whole numbers of 1 to 99999, but it is '{text[:64]}'; write for example 1,8,32")
    return tuple(dict.fromkeys(int(part) for part in parts))


def parse_until(text: str | None) -> float | None:
    """Read "mape=2%", the mean error at which profiling may stop, as a share.

    Raises:
        InputError: It is not of that form.
    """
    if text is None:
        return None
    found = re.fullmatch(r"\s*mape\s*=\s*(\d+(?:\.\d*)?|\.\d+)\s*%\s*", text)
    if found is None or not float(found[1]) > 0:
        raise InputError(f"--until must be a mean error above 0 %, but it is '{text}'; write for example mape=2%")
    return float(found[1]) / 100
