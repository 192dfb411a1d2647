"""The data sets of a search: each has a name, an error objective, and a supernet of its own."""

from collections.abc import Mapping, Sequence

from nat_deploy.data import DataSplits, Progress, data_name, load_data
from nat_deploy.errors import InputError
from nat_deploy.search import error_objective
from nat_deploy.spaces import SearchSpace
from nat_deploy.supernets import Supernet
from nat_deploy.training.adapt import OnStep, prepare_supernet
from nat_deploy.training.evaluator import EvaluatorSettings, SupernetEvaluator
from nat_deploy.training.training_device import TrainingDevice
from nat_deploy.walk.request import SearchRequest


def name_data_sets(data: Sequence[str]) -> dict[str, str]:
    """Data sets as they were asked for, by the names of their error objectives, in their order.

    Raises:
        InputError: There is none, one twice, or two have the same name.
    """
    if not data or len(set(data)) < len(data):
        raise InputError(
            f"a search needs one data set or several different ones, but it has {', '.join(data) or 'none'}; name each once"
        )
    named: dict[str, str] = {}
    for asked in data:
        objective = error_objective(data_name(asked), data)
        if objective in named:
            raise InputError(
                f"data sets of a search must have different names, but '{named[objective]}' and '{asked}' are both called "
                f"'{data_name(asked)}'; give each once, or rename a folder"
            )
        named[objective] = asked
    return named


def load_data_sets(request: SearchRequest, resolutions: Sequence[int], progress: Progress) -> dict[str, DataSplits]:
    """The data sets of a request, divided by its seed, by the names of their error objectives.

    Raises:
        DataSetError: One is not known, or cannot be trained on.
        InputError: Two have the same name.
    """
    return {
        objective: load_data(
            asked, image_size=max(resolutions), seed=request.seed, max_train=request.max_train, progress=progress
        )
        for objective, asked in name_data_sets(request.data).items()
    }


def make_supernets(
    pretrained: Supernet,
    data_sets: Mapping[str, DataSplits],
    resolutions: Sequence[int],
    seed: int,
    settings: EvaluatorSettings,
    on_train: OnStep,
    device: TrainingDevice,
) -> dict[str, SupernetEvaluator]:
    """For each data set a copy of the pretrained supernet with a classifier of its own, on the device."""
    return {
        objective: SupernetEvaluator(
            prepare_supernet(pretrained, data, resolutions, seed=seed).to(device.torch_device),
            device.hold(data),
            settings,
            on_train,
        )
        for objective, data in data_sets.items()
    }


def shared_space(supernets: Mapping[str, SupernetEvaluator]) -> SearchSpace:
    """The space whose architectures are searched: all have the same but for the classifier, and the largest one counts.

    What is within a budget with the most classes is so with fewer.
    """
    return max((evaluator.supernet.space for evaluator in supernets.values()), key=lambda space: space.num_classes)
