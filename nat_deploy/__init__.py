"""The most accurate network that really meets a latency budget on your device: the walk of the command line, for notebooks.

    import nat_deploy as nd

Names are imported when they are first used, so that the command line starts at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nat_deploy.errors import BudgetError as BudgetError
    from nat_deploy.errors import NatDeployError as NatDeployError
    from nat_deploy.export import export_subnet as export_subnet
    from nat_deploy.profiling import find_device as find_device
    from nat_deploy.report import write_report as write_report
    from nat_deploy.spaces.subnet_file import load_subnet as load_subnet
    from nat_deploy.walk import ExportOptions as ExportOptions
    from nat_deploy.walk import SearchRequest as SearchRequest
    from nat_deploy.walk import SilentListener as SilentListener
    from nat_deploy.walk import benchmark_files as benchmark_files
    from nat_deploy.walk import describe_subnet as describe_subnet
    from nat_deploy.walk import export_files as export_files
    from nat_deploy.walk import finetune_network as finetune_network
    from nat_deploy.walk import load_request as load_request
    from nat_deploy.walk import profile_device as profile_device
    from nat_deploy.walk import search_network as search_network

_HOMES = {
    "BudgetError": "nat_deploy.errors",
    "ExportOptions": "nat_deploy.walk",
    "NatDeployError": "nat_deploy.errors",
    "SearchRequest": "nat_deploy.walk",
    "SilentListener": "nat_deploy.walk",
    "benchmark_files": "nat_deploy.walk",
    "describe_subnet": "nat_deploy.walk",
    "export_files": "nat_deploy.walk",
    "export_subnet": "nat_deploy.export",
    "find_device": "nat_deploy.profiling",
    "finetune_network": "nat_deploy.walk",
    "load_request": "nat_deploy.walk",
    "load_subnet": "nat_deploy.spaces.subnet_file",
    "profile_device": "nat_deploy.walk",
    "search_network": "nat_deploy.walk",
    "write_report": "nat_deploy.report",
}

__all__ = [*_HOMES]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'nat_deploy' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
