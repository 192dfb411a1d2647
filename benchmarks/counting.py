"""How many architectures a second are counted: MACs, parameters and peak activation memory, in one thread.

python benchmarks/counting.py
"""

import argparse
import time

import numpy as np

from benchmarks.machine import circumstances
from nat_deploy.spaces import make_space

COUNT, ROUNDS = 100_000, 5


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    space = make_space("ofa-mbv3-w1.0")
    genes = space.sample(np.random.default_rng(0), COUNT)
    space.count(genes[:10])  # builds the look-up tables
    rates = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        space.count(genes)
        rates.append(COUNT / (time.perf_counter() - started))
    print(circumstances("numpy"))
    print(f"{np.median(rates):,.0f} architectures a second (median of {ROUNDS}, {min(rates):,.0f} to {max(rates):,.0f})")


if __name__ == "__main__":
    main()
