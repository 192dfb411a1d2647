"""Would gradient boosting on what the predictor leaves over make it better? On the public labels of two GPUs.

    python benchmarks/boosted_correction.py OFA_LATENCY.csv [--draws 3]

xgboost learns the log errors of the predictor on networks left out of its fit (five folds), from the genes and the physical sums. The
table shows mean errors on 1,000 unseen networks: of the predictor, of it times the correction, of the correction's own choice of
shrinking (0, a half or all of it, whichever cross-validation prefers), and how often cross-validation chose to correct at all.
"""

import argparse
from pathlib import Path

import numpy as np
from xgboost import XGBRegressor

from benchmarks.latency_prediction_ofa import NUM_UNSEEN, RESOLUTIONS, read_labels
from benchmarks.machine import circumstances
from nat_deploy.predictors.latency import BlockIndex, fit_on_networks, score
from nat_deploy.predictors.latency.prediction import FloatArray
from nat_deploy.spaces import Genes, make_space
from profilers.target import Target

NUM_FITTED = (30, 100, 300)
SHARES = (0.0, 0.5, 1.0)
_FOLDS = 5
_GPU = Target(device="gpu", runtime="pytorch", runtime_version="1", precision="fp32", threads=1, batch_size=64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--draws", type=int, default=3)
    arguments = parser.parse_args()
    print(circumstances("natdeploy", "numpy", "xgboost-cpu"))
    index = BlockIndex(make_space("ofa-mbv3-w1.0", resolutions=RESOLUTIONS))
    genes, labels = read_labels(arguments.file, index)
    print(f"{'':23}{'predictor':>10}{'corrected':>11}{'chosen':>9}{'chose it':>10}")
    for device, latency_ms in labels.items():
        for num_fitted in NUM_FITTED:
            draws = [_draw(index, genes, latency_ms, num_fitted, draw) for draw in range(arguments.draws)]
            plain, corrected, chosen, share = np.mean(draws, axis=0)
            print(
                f"{device:18}{num_fitted:5}{100 * plain:8.2f} %{100 * corrected:9.2f} %{100 * chosen:7.2f} %{100 * share:8.0f} %",
                flush=True,
            )


def _draw(index: BlockIndex, genes: Genes, latency_ms: FloatArray, num_fitted: int, draw: int) -> tuple[float, ...]:
    """Errors of the predictor, of the corrected one and of the chosen one, and whether a correction was chosen."""
    order = np.random.default_rng(draw).permutation(len(genes))
    fitted, unseen = order[:num_fitted], order[num_fitted : num_fitted + NUM_UNSEEN]
    folds = np.arange(num_fitted) % _FOLDS
    left_out = np.empty(num_fitted)
    for fold in range(_FOLDS):
        kept, out = fitted[folds != fold], fitted[folds == fold]
        left_out[folds == fold] = fit_on_networks(index, _GPU, genes[kept], latency_ms[kept]).predict(genes[out]).value
    features, errors = _features(index, genes[fitted]), np.log(latency_ms[fitted] / left_out)
    correction = np.empty(num_fitted)
    for fold in range(_FOLDS):
        correction[folds == fold] = _boosted(features[folds != fold], errors[folds != fold]).predict(features[folds == fold])
    losses = [score(left_out * np.exp(share * correction), latency_ms[fitted]).mape for share in SHARES]
    chosen_share = SHARES[int(np.argmin(losses))]
    predicted = fit_on_networks(index, _GPU, genes[fitted], latency_ms[fitted]).predict(genes[unseen]).value
    boosted = np.asarray(_boosted(features, errors).predict(_features(index, genes[unseen])), dtype=np.float64)
    mapes = [score(predicted * np.exp(share * boosted), latency_ms[unseen]).mape for share in (0.0, 1.0, chosen_share)]
    return (*mapes, float(chosen_share > 0))


def _features(index: BlockIndex, genes: Genes) -> FloatArray:
    counts = index.count(genes)
    return np.column_stack([genes, counts @ index.features, counts @ index.features_by_type])


def _boosted(features: FloatArray, errors: FloatArray) -> XGBRegressor:
    return XGBRegressor(n_estimators=150, learning_rate=0.05, max_depth=3, subsample=0.8, colsample_bytree=0.5, n_jobs=1).fit(
        features, errors
    )


if __name__ == "__main__":
    main()
