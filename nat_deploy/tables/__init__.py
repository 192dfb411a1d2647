"""Latency tables as files among people: shown, checked, imported from others, exported for devices reached by hand."""

from nat_deploy.tables.importing import Origin, import_kit, import_published
from nat_deploy.tables.joining import add_to_folder, joined
from nat_deploy.tables.kit import kit_device, write_kit
from nat_deploy.tables.kit_manifest import Kit, KitGraph, load_manifest
from nat_deploy.tables.kit_results import KitResults, check_kit_files, read_profiled_results, read_written_results
from nat_deploy.tables.once_for_all import read_once_for_all
from nat_deploy.tables.plausible import check_plausible, plausible_range_ms
from nat_deploy.tables.summary import TableSummary, measured_space, open_table, summarise
from nat_deploy.tables.table_csv import table_csv

__all__ = [
    "Kit",
    "KitGraph",
    "KitResults",
    "Origin",
    "TableSummary",
    "add_to_folder",
    "check_kit_files",
    "check_plausible",
    "import_kit",
    "import_published",
    "joined",
    "kit_device",
    "load_manifest",
    "measured_space",
    "open_table",
    "plausible_range_ms",
    "read_once_for_all",
    "read_profiled_results",
    "read_written_results",
    "summarise",
    "table_csv",
    "write_kit",
]
