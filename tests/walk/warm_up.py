"""What every search does first, done once in the process that they are forked from (`tiny_search.py`)."""

from nat_deploy.search.survival import reference_directions
from tests.walk import tiny_search

reference_directions(4, tiny_search.POPULATION_SIZE)
