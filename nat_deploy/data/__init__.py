"""Data sets: found, divided, decoded once, and turned into batches."""

from nat_deploy.data.augmentation import Augmentation
from nat_deploy.data.batches import Batch, batches, calibration_batches, calibration_images, normalise, training_batch
from nat_deploy.data.cache import Progress
from nat_deploy.data.dataset import DataSplits, ImageSet, Normalisation, measure_normalisation
from nat_deploy.data.load import data_name, load_data
from nat_deploy.data.named import NAMES

__all__ = [
    "NAMES",
    "Augmentation",
    "Batch",
    "DataSplits",
    "ImageSet",
    "Normalisation",
    "Progress",
    "batches",
    "calibration_batches",
    "calibration_images",
    "data_name",
    "load_data",
    "measure_normalisation",
    "normalise",
    "training_batch",
]
