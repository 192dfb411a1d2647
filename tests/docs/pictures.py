"""A few pictures in folders of classes, as a user has them: handwritten digits that come with scikit-learn."""

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits


def write_pictures(folder: Path, *, per_class: int) -> None:
    digits = load_digits()
    for label in range(3):
        (folder / f"digit {label}").mkdir(parents=True)
        for number, pixels in enumerate(digits.images[digits.target == label][:per_class]):
            picture = Image.fromarray(np.uint8(pixels * 15))
            picture.resize((64, 64)).save(folder / f"digit {label}" / f"{number}.png")
