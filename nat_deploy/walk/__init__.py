"""The walk from a data set to a measured network, as functions: what the commands do, without a terminal."""

from nat_deploy.walk.benchmark import Benchmark, BenchmarkResult, Throughput, benchmark_file, benchmark_files
from nat_deploy.walk.describe import Description, describe_subnet
from nat_deploy.walk.effort import EFFORTS, Effort, EffortName
from nat_deploy.walk.export import Exported, ExportOptions, Variant, export_files
from nat_deploy.walk.finetune import FinetuneAnswer, FinetuneListener, finetune_network
from nat_deploy.walk.found import FoundNetwork
from nat_deploy.walk.latency import LatencyModel, get_latency_model
from nat_deploy.walk.profile import ProfileAnswer, profile_device
from nat_deploy.walk.request import SearchRequest, load_request, save_request
from nat_deploy.walk.search import SearchAnswer, SearchListener, SilentListener, search_network
from nat_deploy.walk.shipped import shipped_supernet

__all__ = [
    "EFFORTS",
    "Benchmark",
    "BenchmarkResult",
    "Description",
    "Effort",
    "EffortName",
    "ExportOptions",
    "Exported",
    "FinetuneAnswer",
    "FinetuneListener",
    "FoundNetwork",
    "LatencyModel",
    "ProfileAnswer",
    "SearchAnswer",
    "SearchListener",
    "SearchRequest",
    "SilentListener",
    "Throughput",
    "Variant",
    "benchmark_file",
    "benchmark_files",
    "describe_subnet",
    "export_files",
    "finetune_network",
    "get_latency_model",
    "load_request",
    "profile_device",
    "save_request",
    "search_network",
    "shipped_supernet",
]
