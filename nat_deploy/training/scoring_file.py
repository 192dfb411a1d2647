"""The images that scores depend on, as one file that many processes map into their memory."""

import json
from dataclasses import asdict
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file, save

from nat_deploy.data import ImageSet, Normalisation
from nat_deploy.training.evaluate import ScoringImages

_NORMALISATION, _BATCH = "normalisation", "calibration_batch"


def scoring_file(images: ScoringImages) -> bytes:
    """The content of a safetensors file with all of `images`."""
    tensors = {
        f"{part}.{name}": tensor.cpu().contiguous()
        for part, image_set in (("calibration", images.calibration), ("counted", images.counted))
        for name, tensor in (("images", image_set.images), ("labels", image_set.labels))
    }
    facts = {
        _NORMALISATION: json.dumps(asdict(images.calibration.normalisation)),
        _BATCH: str(images.calibration_batch),
    }
    return save(tensors, facts)


def load_scoring_file(path: Path) -> ScoringImages:
    """What `scoring_file` gave, memory-mapped."""
    with safe_open(path, framework="pt") as file:
        facts = file.metadata()
    tensors = load_file(path)
    normalisation = Normalisation(**{name: tuple(values) for name, values in json.loads(facts[_NORMALISATION]).items()})

    def image_set(part: str) -> ImageSet:
        return ImageSet(images=tensors[f"{part}.images"], labels=tensors[f"{part}.labels"], normalisation=normalisation)

    return ScoringImages(calibration=image_set("calibration"), calibration_batch=int(facts[_BATCH]), counted=image_set("counted"))
