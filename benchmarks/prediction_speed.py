"""How many latency predictions a second, on one core: ours with intervals, and xgboost without, of the same networks in the same run.

    OMP_NUM_THREADS=1 python benchmarks/prediction_speed.py [--networks 20000]

The predictor is that of the shipped table of `ofa-mbv3-w1.0`. xgboost predicts from features that are computed inside the timing, as ours are.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
from xgboost import XGBRegressor

from benchmarks.machine import circumstances
from nat_deploy.predictors.latency import BlockIndex, load_table, predictor_from_table
from nat_deploy.profiling import shipped_tables_folder
from nat_deploy.spaces import make_space

_REPEATS = 7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=20000)
    arguments = parser.parse_args()
    print(circumstances("natdeploy", "numpy", "xgboost-cpu"))
    space = make_space("ofa-mbv3-w1.0", resolutions=tuple(range(160, 257, 4)))
    table = load_table(next(shipped_tables_folder().glob("*fp32*/ofa-mbv3-w1.0.json")))
    predictor = predictor_from_table(space, table)
    index = BlockIndex(space)
    genes = space.sample(np.random.default_rng(0), arguments.networks)

    def features(rows: np.ndarray) -> np.ndarray:
        counts = index.count(rows)
        return np.column_stack([rows, counts @ index.features, counts @ index.features_by_type])

    known = np.array([space.encode(entry.architecture) for entry in table.networks])
    boosted = XGBRegressor(n_estimators=400, learning_rate=0.05, max_depth=4, n_jobs=1)
    boosted.fit(features(known), np.log([entry.timing.p25_ms for entry in table.networks]))
    methods: dict[str, Callable[[], object]] = {
        "natdeploy, with intervals": lambda: predictor.predict(genes),
        "xgboost, with its features": lambda: boosted.predict(features(genes)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(_REPEATS):
        for name, method in methods.items():
            started = time.perf_counter()
            method()
            seconds[name].append(time.perf_counter() - started)
    for name, times in seconds.items():
        rates = arguments.networks / np.array(times)
        print(f"{name:28} {np.median(rates):10,.0f} a second (slowest {rates.min():,.0f}, fastest {rates.max():,.0f})")


if __name__ == "__main__":
    main()
