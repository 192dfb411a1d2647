"""Fine-tune: a chosen subnet trained further from the weights that it has in its supernet."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from nat_deploy.data import DataSplits, Progress, batches, load_data
from nat_deploy.errors import InputError, MissingError
from nat_deploy.export.weights import WeightedSubnet, calibrated, check_classes, find_weights, hash_weights, save_trained
from nat_deploy.files import read_json_document, write_atomically, writing_error
from nat_deploy.search import RunFolder
from nat_deploy.spaces.subnet_file import ObjectiveValue, SubnetFile, load_subnet, save_subnet
from nat_deploy.supernets import Subnet, load_supernet
from nat_deploy.training.adapt import prepare_supernet
from nat_deploy.training.evaluate import Accuracy, calibrated_subnet, measure_accuracy
from nat_deploy.training.evaluator import EvaluatorSettings, SupernetEvaluator
from nat_deploy.training.finetune import FinetuneEpoch, FinetuneResult, FinetuneSettings, Lesson, finetune_subnet
from nat_deploy.training.training_device import find_training_device
from nat_deploy.walk.data_sets import name_data_sets
from nat_deploy.walk.found import SubnetOrigin, find_origin
from nat_deploy.walk.shipped import shipped_supernet

FORMAT = 1
_NUM_CALIBRATION_IMAGES = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneListener:
    """What wants to know how far a fine-tuning is."""

    on_decode: Progress = lambda done, total: None
    on_epoch: Callable[[FinetuneEpoch], None] = lambda epoch: None


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneAnswer:
    """What a fine-tuning wrote.

    subnet_file              the `subnet.json`, weights beside it: the fine-tuned ones, or the old ones where these are not better
    teacher                  whose largest subnet taught, for people; None where the labels alone did
    test_before, test_after  accuracy on the test part, which no choice looked at; None where the data has none
    """

    subnet_file: Path
    result: FinetuneResult
    teacher: str | None
    test_before: Accuracy | None
    test_after: Accuracy | None


def finetune_network(
    subnet_path: Path,
    out: Path,
    *,
    data: str | None = None,
    supernet: Path | None = None,
    settings: FinetuneSettings | None = None,
    train_on: str = "auto",
    cache_dir: Path | None = None,
    listener: FinetuneListener | None = None,
) -> FinetuneAnswer:
    """Fine-tune the network of a `subnet.json` on the training images, and then, for as long as was best, on validation images too.

    A subnet that lies in the folder of a search is trained with the data of that search, divided as there, and taught by the largest
    subnet of its supernet. A call that was broken off goes on when it is made again.

    Args:
        subnet_path: Its weights, if it names any, are calibrated.
        out: A new folder, or one that a call with the same arguments began.
        data: Name of a data set, or a folder of images; by default that of the search. Outside a search it is divided by the seed of
            `settings`.
        supernet: File of the supernet whose largest subnet teaches, and that the weights are cut out of where the subnet names none;
            by default that of the search.
        train_on: "cpu", "cuda", or "auto" for the GPU where there is one.

    Raises:
        MissingError: Weights, data or files are missing.
        InputError: Arguments, data or files that cannot be used.
    """
    settings, listener = settings or FinetuneSettings(), listener or FinetuneListener()
    torch_device = find_training_device(train_on).torch_device
    subnet_file = load_subnet(subnet_path)
    origin = find_origin(subnet_path)
    _check_place(out)
    found = _find_start(subnet_file, supernet)
    splits = _load(data, origin, subnet_file, found, settings.seed, cache_dir, listener.on_decode)
    check_classes(splits, found, purpose="fine-tune it")
    resolution = subnet_file.architecture.resolution
    start = found.subnet
    if subnet_file.weights is None:
        start = calibrated(start, splits, resolution=resolution, num_images=_NUM_CALIBRATION_IMAGES, seed=settings.seed)
    teacher = _find_teacher(supernet, origin, splits, resolution)
    _begin(out, _question(subnet_file, start, teacher, splits, settings))
    lesson = Lesson(
        start=start.to(torch_device),
        teacher=None if teacher is None else teacher.subnet.to(torch_device),
        resolution=resolution,
        augmentation=splits.augmentation,
        settings=settings,
    )
    result = finetune_subnet(lesson, splits.train, splits.val, out / "checkpoints", listener.on_epoch)
    save_trained(out / "subnet.safetensors", result.network, splits)
    save_subnet(out / "subnet.json", _describe(subnet_file, result, out / "subnet.safetensors", splits.name, teacher))
    shutil.rmtree(out / "checkpoints", ignore_errors=True)
    return FinetuneAnswer(
        subnet_file=out / "subnet.json",
        result=result,
        teacher=None if teacher is None else teacher.source,
        test_before=_test(start, splits, resolution),
        test_after=_test(result.network, splits, resolution),
    )


def _check_place(out: Path) -> None:
    if (out / "subnet.json").exists():
        raise InputError(f"'{out}' must not hold a finished fine-tuning, but it does; give another --out, or remove it")
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / "finetune.json").exists())):
        raise InputError(f"'{out}' must be a new folder, or one that a fine-tuning began, but it is not; give another --out")


def _find_start(subnet_file: SubnetFile, supernet: Path | None) -> WeightedSubnet:
    if subnet_file.weights is None and supernet is None:
        raise MissingError(
            "weights must be known, but the subnet file names none; add --supernet FILE to cut them out of a supernet"
        )
    return find_weights(subnet_file, supernet if subnet_file.weights is None else None)


def _load(
    data: str | None,
    origin: SubnetOrigin | None,
    subnet_file: SubnetFile,
    found: WeightedSubnet,
    seed: int,
    cache_dir: Path | None,
    on_decode: Progress,
) -> DataSplits:
    """Divided as in the search: what its supernet has learnt from must not become a validation image."""
    request = None if origin is None else origin.request
    searched = None if origin is None else name_data_sets(origin.request.data).get(origin.objective)
    asked = data or searched
    if asked is None:
        raise MissingError("images to learn from must be given, but none were; add --data, as the network was trained on")
    return load_data(
        asked,
        image_size=max((subnet_file.architecture.resolution, *(request.resolutions or () if request else ()))),
        seed=seed if request is None else request.seed,
        max_train=None if request is None else request.max_train,
        cache_dir=cache_dir,
        normalisation=found.normalisation,
        progress=on_decode,
    )


def _find_teacher(supernet: Path | None, origin: SubnetOrigin | None, data: DataSplits, resolution: int) -> WeightedSubnet | None:
    """The largest subnet of the supernet file, else of the search's supernet as it was in the end; calibrated."""
    if supernet is not None:
        found, info = load_supernet(supernet)
        own = found.with_resolutions((resolution,))
        teacher = WeightedSubnet(
            subnet=calibrated_subnet(own, own.space.largest(), data.train), source=str(supernet), class_names=info.class_names
        )
        check_classes(data, teacher, purpose="its teacher labels")
        return teacher
    if origin is None:
        return None
    request = origin.request
    pretrained, info = load_supernet(Path(request.supernet) if request.supernet else shipped_supernet())
    adapted = prepare_supernet(pretrained, data, request.resolutions or info.resolutions, seed=request.seed)
    evaluator = SupernetEvaluator(adapted, data, EvaluatorSettings())
    RunFolder.read(origin.run).load_newest_checkpoint(origin.objective, evaluator)
    largest = replace(adapted.space.largest(), resolution=resolution)
    return WeightedSubnet(subnet=evaluator.subnet(largest), source=str(origin.run))


def _question(
    subnet_file: SubnetFile, start: Subnet, teacher: WeightedSubnet | None, data: DataSplits, settings: FinetuneSettings
) -> dict[str, str]:
    """All that the result depends on, for people and for the comparison with what the folder began with."""
    return {
        "architecture": json.dumps(asdict(subnet_file.architecture)),
        "weights": hash_weights(start.numpy_weights()),
        "teacher": "none" if teacher is None else hash_weights(teacher.subnet.numpy_weights()),
        "data": f"{data.name}: {len(data.train)} training and {len(data.val)} validation images of {data.num_classes} classes",
        "settings": json.dumps(asdict(settings)),
    }


def _begin(out: Path, question: Mapping[str, str]) -> None:
    """Make the folder, or see that it was made for the same."""
    path = out / "finetune.json"
    if not path.exists():
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise writing_error(out, error) from error
        write_atomically(path, json.dumps({"format": FORMAT, **question}, indent=1))
        return
    began = read_json_document(path)
    if began != {"format": FORMAT, **question}:
        kept = began if isinstance(began, dict) else {}
        key = next((key for key in question if kept.get(key) != question[key]), "format")
        raise InputError(
            f"'{out}' can go on only as it began, but {key} was {str(kept.get(key))[:200]} and is now {question.get(key, FORMAT)}; "
            "ask for the same, or give another --out"
        )


def _describe(
    subnet_file: SubnetFile, result: FinetuneResult, weights: Path, data_name: str, teacher: WeightedSubnet | None
) -> SubnetFile:
    """The same architecture: costs stay, the error is new."""
    score = result.after if result.after is not None and result.is_better else result.before
    error = ObjectiveValue(name="error_percent", value=score.accuracy.error_percent, source="measured")
    taught = "by the labels alone" if teacher is None else f"by the largest subnet of {teacher.source}"
    provenance = {"weights": "as before: fine-tuning did not make them better"}
    if result.is_better:
        statistics = "; batch norms measured on training images as they are" if result.is_recalibrated else ""
        provenance["weights"] = f"fine-tuned on {data_name} for {result.num_epochs} epochs, taught {taught}{statistics}"
    if result.is_final:
        provenance["error_percent"] = (
            f"on {score.accuracy.num_images} validation images, of the network that had not learnt from them; "
            "the weights have learnt from them since"
        )
    return replace(
        subnet_file,
        weights=weights,
        objectives=(error, *(value for value in subnet_file.objectives if value.name != "error_percent")),
        provenance={**subnet_file.provenance, **provenance},
    )


def _test(network: Subnet, data: DataSplits, resolution: int) -> Accuracy | None:
    if data.test is None:
        return None
    device = next(network.parameters()).device
    return measure_accuracy(network, batches(data.test, batch_size=256, resolution=resolution, device=device))
