from pathlib import Path
from typing import Annotated

import typer

from nat_deploy.cli._options import Json, parse_resolutions

app = typer.Typer(help="Show, check, import and export latency tables.", no_args_is_help=True, rich_markup_mode=None)

Device = Annotated[str | None, typer.Option("--device", help="Name of the measured device, as it shall stand in the target.")]


@app.command()
def show(
    table: Annotated[str, typer.Argument(metavar="TABLE_OR_DEVICE", help="A table's file, or a device that has one.")],
    space: Annotated[str | None, typer.Option(help="Which of a device's tables.")] = None,
    json: Json = False,
) -> None:
    """Show what a latency table holds, and how well it predicts."""
    from nat_deploy.cli._output import answer
    from nat_deploy.cli._tables import describe_table, document_table
    from nat_deploy.tables import open_table, summarise

    path, found = open_table(table, space=space)
    summary = summarise(found)
    answer(describe_table(path, summary), document_table(path, summary), as_json=json)


@app.command()
def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Latency tables.")],
    json: Json = False,
) -> None:
    """Read tables strictly, and judge them; exits with 1 when one is broken."""
    from nat_deploy.cli._output import answer
    from nat_deploy.cli._tables import describe_check, document_table
    from nat_deploy.errors import NatDeployError
    from nat_deploy.predictors.latency import load_table
    from nat_deploy.tables import summarise

    lines, documents, broken = [], [], False
    for path in files:
        try:
            summary = summarise(load_table(path))
        except NatDeployError as error:
            lines.append(f"{path}: broken; {error}")
            documents.append({"table": str(path), "sound": False, "fault": str(error)})
            broken = True
        else:
            lines += describe_check(path, summary)
            documents.append({"sound": True, **document_table(path, summary)})
    answer("\n".join(lines), {"tables": documents}, as_json=json)
    raise typer.Exit(1 if broken else 0)


@app.command("import")
def import_table(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="[FILE]...", help="YAML tables of Once-for-all, one a resolution.")
    ] = None,
    kit: Annotated[Path | None, typer.Option(help="Folder of a kit, instead of files.")] = None,
    results: Annotated[Path | None, typer.Option(help="Of the kit: results.jsonl, or a results.csv that was filled in.")] = None,
    device: Device = None,
    runtime: Annotated[str | None, typer.Option(help="Software that ran the networks, for example litert.")] = None,
    runtime_version: Annotated[str | None, typer.Option(help="Its version.")] = None,
    precision: Annotated[str | None, typer.Option(help="fp32, fp16 or int8; by default the kit's, or fp32.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="By default the kit's, or 1.")] = None,
    power_mode: Annotated[str | None, typer.Option(help="Power mode of the device.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of tables; by default the user's, where search finds it.")] = None,
    json: Json = False,
) -> None:
    """Import latencies that others measured: tables of Once-for-all, or results of a kit. What is there already is extended."""
    from nat_deploy.cli._output import answer, tell
    from nat_deploy.cli._tables import describe_import, document_table
    from nat_deploy.errors import InputError
    from nat_deploy.profiling import user_tables_folder
    from nat_deploy.tables import Origin, add_to_folder, import_kit, import_published, summarise

    if (kit is None) != (results is None) or (kit is None) == (not files):
        raise InputError(
            "an import is either YAML files or --kit FOLDER --results FILE, but neither or parts of both came; give one of them"
        )

    origin = Origin(
        device=device,
        runtime=runtime,
        runtime_version=runtime_version,
        precision=precision,
        threads=threads,
        power_mode=power_mode,
    )
    if kit is None or results is None:
        new = import_published(files or [], origin)
    else:
        found = import_kit(kit, results, origin)
        new = found.table
        for failure in found.failures:
            tell(f"not measured: {failure}")
        if found.num_missing:
            tell(f"{found.num_missing} graphs of the kit have no result; they can be imported later")
    path, table = add_to_folder(new, out or user_tables_folder())
    summary = summarise(table)
    answer(describe_import(path, summary), document_table(path, summary), as_json=json)


@app.command()
def export(
    table: Annotated[str | None, typer.Argument(metavar="[TABLE_OR_DEVICE]", help="The table to export, with --csv.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Write the table as comma-separated values.")] = None,
    kit: Annotated[
        Path | None, typer.Option(help="Write a kit into this new folder, for a device that is reached by hand.")
    ] = None,
    space: Annotated[
        str | None, typer.Option(help="Search space of the kit (ofa-mbv3-w0.5), or which of a device's tables.")
    ] = None,
    resolutions: Annotated[str | None, typer.Option(help="Image sizes, for example 32-64 or 128-256:4.")] = None,
    classes: Annotated[int, typer.Option(help="Outputs of the networks' classifiers.")] = 1000,
    networks: Annotated[int, typer.Option(help="Whole networks in the kit.")] = 20,
    blocks: Annotated[int, typer.Option(help="Single blocks in the kit.")] = 40,
    runtime: Annotated[
        str, typer.Option(help="Software on the device; int8 files suit onnxruntime or tensorrt.")
    ] = "onnxruntime",
    precision: Annotated[str, typer.Option(help="What the files compute in: fp32, fp16 or int8.")] = "fp32",
    batch_size: Annotated[int, typer.Option(min=1, help="Images of one run.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="Threads on the device.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Of the choice of networks and blocks.")] = 0,
    json: Json = False,
) -> None:
    """Export a table for other tools, or a kit of ONNX files for a device that can only be reached by hand."""
    from nat_deploy.cli._output import answer, tell
    from nat_deploy.cli._tables import describe_kit, document_kit
    from nat_deploy.errors import InputError
    from nat_deploy.files import write_atomically
    from nat_deploy.spaces import make_space
    from nat_deploy.tables import kit_device, open_table, table_csv, write_kit
    from nat_deploy.walk.shipped import SHIPPED_SPACE, resolutions_of

    if (csv is None) == (kit is None) or (csv is None) != (table is None):
        raise InputError(
            "an export is either TABLE --csv FILE or --kit FOLDER, but neither or parts of both came; give one of them"
        )
    if csv is not None and table is not None:
        text = table_csv(open_table(table, space=space)[1])
        write_atomically(csv, text)
        num_rows = text.count("\n") - 1
        answer(f"{csv}: {num_rows} rows", {"csv": str(csv), "rows": num_rows}, as_json=json)
    if kit is not None:
        name = space or SHIPPED_SPACE
        sizes = parse_resolutions(resolutions) or resolutions_of(name)
        tell("writing ONNX files ...")
        device = kit_device(runtime=runtime, precision=precision, threads=threads, batch_size=batch_size)
        search_space = make_space(name, resolutions=sizes, num_classes=classes)
        written = write_kit(kit, search_space, device, num_networks=networks, num_blocks=blocks, seed=seed)
        answer(describe_kit(kit, written), document_kit(kit, written), as_json=json)
