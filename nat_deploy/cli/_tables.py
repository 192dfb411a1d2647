"""How latency tables and kits are told."""

from dataclasses import asdict
from pathlib import Path

from nat_deploy.predictors.latency import LatencyTable
from nat_deploy.tables import Kit, TableSummary


def describe_table(path: Path, summary: TableSummary) -> str:
    """For people: everything of `natdeploy table show`."""
    table = summary.table
    lines = [f"{path}", f"target     {table.target.key}", *_facts(table), f"holds      {_counts(summary)}"]
    lines.append(
        f"from       {table.provenance.created}, natdeploy {table.provenance.natdeploy_version}, {table.provenance.source}"
    )
    if summary.predicted is not None:
        ranges = [
            f"{name} {value:.3g} ms ({low:.3g} to {high:.3g})"
            for name, (low, value, high) in (
                ("smallest", summary.predicted.smallest_ms),
                ("largest", summary.predicted.largest_ms),
            )
        ]
        lines.append(f"predicts   {', '.join(ranges)}")
    if summary.card is not None:
        lines += ["", *summary.card.lines()]
    if summary.dearest:
        lines += ["", "dearest blocks, alone", *(f"  {dear.block.key:70} {dear.ms:8.3f} ms" for dear in summary.dearest)]
    return "\n".join([*lines, *_notes(summary)])


def describe_import(path: Path, summary: TableSummary) -> str:
    """For people: where an import went, what it is worth, and how to use it."""
    card = () if summary.card is None else summary.card.lines()
    device = (
        f'to predict with it, write into devices.toml: [devices.NAME] transport = "table", target = "{summary.table.target.key}"'
    )
    return "\n".join([f"{path}: {_counts(summary)}", *card, *_notes(summary), device])


def describe_check(path: Path, summary: TableSummary) -> list[str]:
    """For people: one line, and one for each doubt."""
    scores = None if summary.card is None else summary.card.scores
    worth = "" if scores is None else f"; error {100 * scores.mape:.1f} %, {100 * scores.within_10:.0f} % within 10 %"
    left_out = "" if summary.card is None or summary.card.allowance is None else " of blocks"
    return [f"{path}: sound; {_counts(summary)}{worth}{left_out}", *(f"  {note}" for note in _notes(summary))]


def document_table(path: Path, summary: TableSummary) -> dict[str, object]:
    """For programs; latencies in ms of one batch."""
    table, card = summary.table, summary.card
    return {
        "table": str(path),
        "target": table.target.key,
        "space": table.space,
        "num_classes": table.num_classes,
        "facts": None if table.facts is None else table.facts.to_json(),
        "provenance": asdict(table.provenance),
        "networks": len(table.networks),
        "blocks": len(table.blocks),
        "overheads": len(table.overheads),
        "sittings": table.num_sittings,
        "single_figures": summary.num_single,
        "unconverged": summary.num_unconverged,
        "card": None if card is None else asdict(card),
        "predicted": None if summary.predicted is None else asdict(summary.predicted),
        "dearest_blocks": [{"block": dear.block.key, "ms": dear.ms} for dear in summary.dearest],
        "doubts": list(summary.doubts),
        "warnings": list(table.warnings),
    }


def describe_kit(folder: Path, kit: Kit) -> str:
    """For people: what was written, and what to do with it."""
    return (
        f"{folder}: {len(kit.graphs)} ONNX files of {kit.space} for {kit.runtime}, {kit.precision}, {kit.threads} thread(s), batch {kit.batch_size}\n"
        f"next: copy the folder to the device and follow {folder / 'INSTRUCTIONS.md'}"
    )


def document_kit(folder: Path, kit: Kit) -> dict[str, object]:
    """For programs."""
    return {
        "kit": str(folder),
        "space": kit.space,
        "runtime": kit.runtime,
        "precision": kit.precision,
        "threads": kit.threads,
        "batch_size": kit.batch_size,
        "graphs": [graph.id for graph in kit.graphs],
    }


def _facts(table: LatencyTable) -> list[str]:
    facts = table.facts
    if facts is None:
        return ["facts      nobody wrote down what the device is"]
    known = {
        "governor": facts.governor,
        "load": None if facts.load_average is None else f"{facts.load_average:.1f}",
        "kernel": facts.kernel,
        "python": facts.python,
    }
    rest = [f"{name} {value}" for name, value in known.items() if value is not None]
    return [f"facts      {', '.join([facts.board or facts.cpu_model, f'{facts.num_cores} cores', facts.machine, *rest])}"]


def _counts(summary: TableSummary) -> str:
    table = summary.table
    parts = [
        f"{len(table.networks)} networks",
        f"{len(table.blocks)} blocks",
        f"{len(table.overheads)} overheads in {table.num_sittings} sittings",
        f"{table.num_classes} classes",
        *([f"{summary.num_single} single figures"] if summary.num_single else []),
        *([f"{summary.num_unconverged} unconverged"] if summary.num_unconverged else []),
    ]
    return ", ".join(parts)


def _notes(summary: TableSummary) -> list[str]:
    return [*(f"doubt: {doubt}" for doubt in summary.doubts), *(f"warning: {warning}" for warning in summary.table.warnings)]
