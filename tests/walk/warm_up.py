"""What every search does first, done once in the process that they are forked from (`tiny_search.py`)."""

import sklearn.datasets
import torch

from nat_deploy.search.survival import reference_directions
from tests.walk import tiny_search

sklearn.datasets.load_digits()
torch.optim.AdamW([torch.zeros(1, requires_grad=True)])  # the first optimiser imports half of torch
reference_directions(4, tiny_search.POPULATION_SIZE)
