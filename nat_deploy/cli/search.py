from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from nat_deploy.cli._options import AllowPowerMode, Cluster, Json, TrainOn, Workers, parse_resolutions


def search(
    latency_budget: Annotated[
        list[str] | None,
        typer.Option(
            help="Largest median latency of one batch: 20ms, or of one of several devices phone=35ms. Can be repeated; "
            "one without a name is for every device that has none of its own."
        ),
    ] = None,
    budget: Annotated[
        list[str] | None, typer.Option(help="Another upper bound: macs=300M, params=5M, memory=4MB. Can be repeated.")
    ] = None,
    prefer: Annotated[
        str,
        typer.Option(
            help="What is wanted of the answer within the budgets: accuracy, knee (the best compromise of all objectives), or weights, "
            "for example error=2,latency=1,macs=1, with several data sets or devices error@flowers=2,latency@phone=1."
        ),
    ] = "accuracy",
    device: Annotated[
        list[str] | None, typer.Option(help="Device: cpu (the default), gpu, or a name in devices.toml. Can be repeated.")
    ] = None,
    objective: Annotated[
        list[str] | None,
        typer.Option(
            help="A cost to make small beside the errors and the latencies: macs, params or memory. Can be repeated; by default macs and params."
        ),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="Data set by name (digits, the default, cifar10, ...), or a folder with one folder of images per class. Can be repeated: one "
            "architecture for all of them, with weights for each."
        ),
    ] = None,
    supernet: Annotated[Path | None, typer.Option(help="Supernet file; by default the one that comes with natdeploy.")] = None,
    resolutions: Annotated[
        str | None, typer.Option(help="Image sizes to choose from, for example 32-64; by default the supernet's.")
    ] = None,
    effort: Annotated[str, typer.Option(help="quick, normal or thorough.")] = "normal",
    iterations: Annotated[int | None, typer.Option(min=0, help="Instead of the effort's.")] = None,
    first_epochs: Annotated[
        float | None, typer.Option(min=0.01, help="Epochs of the first adaptation, instead of the effort's.")
    ] = None,
    further_epochs: Annotated[
        float | None, typer.Option(min=0.01, help="Epochs of each later adaptation, instead of the effort's.")
    ] = None,
    profile_minutes: Annotated[
        float, typer.Option(min=0.1, help="Time for the latency table of each device that has none yet.")
    ] = 2.0,
    max_train: Annotated[int | None, typer.Option(min=2, help="Most training images to use of each data set.")] = None,
    finalists: Annotated[int, typer.Option(min=1, help="Networks to measure and return.")] = 4,
    seed: Annotated[int, typer.Option(help="Of all randomness.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder of the run; by default runs/DATE-TIME.")] = None,
    train_on: TrainOn = "auto",
    workers: Workers = None,
    cluster: Cluster = None,
    resume: Annotated[
        Path | None,
        typer.Option(help="Continue the run in this folder; no other option is needed, and only --workers and --cluster count."),
    ] = None,
    allow_power_mode: AllowPowerMode = False,
    json: Json = False,
) -> None:
    """Find the most accurate network within a latency budget, measured on the device, or on several at once.

    natdeploy search --device cpu --device phone --latency-budget 20ms --latency-budget phone=35ms

    natdeploy search --data flowers/ --data cifar10 --latency-budget 2ms
    """
    from nat_deploy.cli._answers import describe_answer, document_answer
    from nat_deploy.cli._output import answer, progress_bar
    from nat_deploy.errors import InputError
    from nat_deploy.walk import SearchRequest, load_request, search_network

    if resume is not None:
        request, run = load_request(resume), resume
        if workers is not None or cluster is not None:  # where the run goes on, not what it finds
            request = replace(request, workers=workers, cluster=cluster)
    else:
        if not (latency_budget or budget) and prefer == "accuracy":
            raise InputError("a search needs a budget, but none came; add for example --latency-budget 20ms, or --prefer knee")
        request = SearchRequest(
            latency_budgets=tuple(latency_budget or ()),
            budgets=tuple(budget or ()),
            prefer=prefer,
            objectives=tuple(objective or ("macs", "params")),
            devices=tuple(device or ("cpu",)),
            data=tuple(data or ("digits",)),
            supernet=None if supernet is None else str(supernet),
            resolutions=parse_resolutions(resolutions),
            effort=effort,
            iterations=iterations,
            first_epochs=first_epochs,
            further_epochs=further_epochs,
            profile_minutes=profile_minutes,
            max_train=max_train,
            finalists=finalists,
            seed=seed,
            allow_power_mode=allow_power_mode,
            train_on=train_on,
            workers=workers,
            cluster=cluster,
        )
        run = out or Path("runs") / datetime.now().strftime("%Y-%m-%d-%H%M%S")
    with progress_bar() as progress:
        found = search_network(request, run, progress, resume=resume is not None)
    answer(describe_answer(found), document_answer(found), as_json=json)
