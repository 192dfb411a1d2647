"""Known networks by name, to measure beside one's own: those of torchvision with random weights, since speed does not ask for others."""

import warnings
from importlib.metadata import version
from pathlib import Path

import platformdirs
import torch

from nat_deploy.errors import InputError
from nat_deploy.files import write_atomically, writing_error

REFERENCE_NAMES = ("efficientnet_b0", "mobilenet_v2", "mobilenet_v3_large", "resnet18")
_RESOLUTION = 224  # at which their accuracies were published


def write_reference_model(name: str, *, cache_dir: Path | None = None) -> Path:
    """The ONNX file of a network with 1000 classes: float32, `images` (batch, 3, 224, 224) to `logits`, batch norms folded.

    Args:
        name: One of `REFERENCE_NAMES`.
        cache_dir: Where it is kept, since writing it takes seconds; by default the user's cache folder.

    Raises:
        InputError: There is no such name, or the cache cannot be written.
        WorkError: The disk is full.
    """
    if name not in REFERENCE_NAMES:
        raise InputError(
            f"a reference model must be one of {', '.join(REFERENCE_NAMES)}, but it is '{name[:64]}'; choose one of these"
        )
    cache_dir = platformdirs.user_cache_path("natdeploy") if cache_dir is None else cache_dir
    path = cache_dir / "reference_models" / f"{name}.torchvision-{version('torchvision')}.torch-{torch.__version__}.onnx"
    if not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise writing_error(path.parent, error) from error
        write_atomically(path, _export(name))
    return path


def _export(name: str) -> bytes:
    import torchvision  # twice as slow to import as all the rest

    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        network = torchvision.models.get_model(name, weights=None).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter's own parts
        program = torch.onnx.export(
            network,
            (torch.zeros(2, 3, _RESOLUTION, _RESOLUTION),),
            dynamo=True,
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            verbose=False,
        )
    assert program is not None
    return bytes(program.model_proto.SerializeToString())
