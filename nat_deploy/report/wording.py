"""Figures and names as people read them."""

from collections.abc import Sequence

from nat_deploy.report.network import Cost, Network
from nat_deploy.search import Budget
from nat_deploy.search.objective import make_objective

_NAMES = {
    "error_percent": "Top-1 error",
    "latency_ms": "Latency",
    "macs": "MACs",
    "num_params": "Parameters",
    "peak_activation_bytes": "Peak activation memory",
}
_LARGE = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
_BINARY = ((2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"))


def name_of(objective: str) -> str:
    """ "Latency", "Latency on jetson", "Top-1 error on flowers", "MACs"."""
    name, _, place = objective.partition("@")
    return f"{_NAMES[name]} on {place}" if place else _NAMES[name]


def accuracy_names(errors: Sequence[str]) -> tuple[str, ...]:
    """What `Network.accuracies_percent` are, from the names of the error objectives."""
    if len(errors) == 1:
        return ("Top-1 accuracy",)
    return ("Mean top-1 accuracy", *(f"Top-1 accuracy on {data_of(error)}" for error in errors))


def data_of(error: str) -> str:
    """Name of the data set of an error objective; empty for an only one."""
    return error.partition("@")[2]


def axis_of(objective: str) -> str:
    """The name with the unit of `scaled`."""
    units = {"macs": "million", "num_params": "million", "peak_activation_bytes": "MiB"}
    return f"{name_of(objective)} ({units.get(objective, make_objective(objective).unit)})"


def scaled(objective: str, value: float) -> float:
    """A value in the unit of `axis_of`."""
    return value / {"macs": 1e6, "num_params": 1e6, "peak_activation_bytes": 2.0**20}.get(objective, 1.0)


def figure(objective: str, value: float) -> str:
    """A value with its unit: "18.4 ms", "12.3 M", "1.50 MiB", "12.50 %"."""
    unit = make_objective(objective).unit
    if unit == "ms":
        return f"{milliseconds(value)} ms"
    if unit == "%":
        return f"{value:.2f} %"
    if unit == "bytes":
        return size(value)
    return _short(value)


def bound(budget: Budget) -> str:
    """The upper bound as it was asked for: "1.5 ms", "300 M"."""
    return f"{budget.upper:g} ms" if make_objective(budget.objective).unit == "ms" else figure(budget.objective, budget.upper)


def cost_text(cost: Cost | None) -> str:
    """A cost with its interval and where it comes from; "not known" without one."""
    if cost is None:
        return "not known"
    text = figure(cost.name, cost.value)
    if cost.source == "counted":
        return text
    return f"{text} ({milliseconds(cost.low)} to {milliseconds(cost.high)}, {cost.source})"


def milliseconds(value: float) -> str:
    """Three decimals below 10, then two, then one; never an exponent."""
    digits = 3 if value < 10 else 2 if value < 100 else 1
    return f"{value:.{digits}f}"


def accuracy(network: Network) -> str:
    """Of several data sets the mean."""
    return percent(network.accuracy_percent)


def percent(value: float) -> str:
    return f"{value:.2f} %"


def size(num_bytes: float) -> str:
    unit = next(((factor, name) for factor, name in _BINARY if num_bytes >= factor), None)
    return f"{num_bytes / unit[0]:.2f} {unit[1]}" if unit else f"{num_bytes:.0f} bytes"


def architecture_lines(network: Network) -> tuple[str, ...]:
    """The architecture, one line for the resolution and one per stage; the genes where its space is not known."""
    if network.architecture is None:
        return (f"genes {' '.join(map(str, network.genes))}",)
    arch = network.architecture
    stages = enumerate(arch.stages(), start=1)
    return (
        f"resolution {arch.resolution}",
        *(f"stage {number}: {'  '.join(f'k{kernel} e{expand}' for kernel, expand in layers)}" for number, layers in stages),
    )


def architecture_short(network: Network) -> str:
    if network.architecture is None:
        return architecture_lines(network)[0]
    return f"{network.architecture.resolution} px, depth {'-'.join(map(str, network.architecture.depth))}"


def _short(value: float) -> str:
    unit = next(((factor, name) for factor, name in _LARGE if value >= factor), None)
    if unit is None:
        return f"{value:.0f}"
    share = value / unit[0]
    return f"{share:.{2 if share < 10 else 1}f} {unit[1]}"
