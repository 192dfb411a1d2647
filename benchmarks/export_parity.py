"""Random architectures of every space as ONNX files in ONNX Runtime against torch in double precision: `python benchmarks/export_parity.py`.

The networks have random weights and calibrated batch norms: without calibration values vanish or explode, and errors mean nothing. The error of a network is
the norm of the difference of the logits of eight images, over the norm of the logits.
"""

import argparse
import time

import numpy as np
import torch

from benchmarks.export import make_subnet, open_session, run
from benchmarks.machine import circumstances
from nat_deploy.data import Normalisation
from nat_deploy.export import reference_logits, subnet_to_onnx
from nat_deploy.spaces import SMALL_IMAGE_RESOLUTIONS, SPACE_NAMES, make_space

ALLOWED_ERROR = 1e-4
NUM_IMAGES = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=100, help="of each space")
    parser.add_argument("--spaces", nargs="+", default=SPACE_NAMES)
    parser.add_argument("--resolutions", type=int, nargs="+", default=SMALL_IMAGE_RESOLUTIONS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(circumstances("natdeploy", "torch", "onnx", "onnxruntime"))
    failed = 0
    for name in args.spaces:
        start = time.perf_counter()
        errors = measure_errors(name, tuple(args.resolutions), args.networks)
        failed += int((errors > ALLOWED_ERROR).sum())
        print(
            f"{name}: {len(errors)} networks at {args.resolutions[0]} to {args.resolutions[-1]} px, relative error {np.median(errors):.1e} "
            f"(median), {errors.max():.1e} (worst), {(errors > ALLOWED_ERROR).sum()} above {ALLOWED_ERROR:.0e}; "
            f"{time.perf_counter() - start:.0f} s",
            flush=True,
        )
    raise SystemExit(failed > 0)


def measure_errors(name: str, resolutions: tuple[int, ...], count: int) -> np.ndarray:
    """Relative errors of `count` random networks of a space, shape `(count,)`."""
    rng = np.random.default_rng(0)
    space = make_space(name, resolutions=resolutions)
    errors = []
    for genes in space.sample(rng, count):
        architecture = space.decode(genes)
        subnet = make_subnet(space.blocks(architecture), rng)
        model = subnet_to_onnx(space, architecture, subnet.numpy_weights(), normalisation=Normalisation()).SerializeToString()
        size = architecture.resolution
        images = rng.standard_normal((NUM_IMAGES, 3, size, size), dtype=np.float32)
        expected = reference_logits(subnet, images)
        if expected.std() < 0.01:
            raise SystemExit(f"logits of {architecture} hardly differ, so comparing them is idle")
        errors.append(np.linalg.norm(run(open_session(model), images) - expected) / np.linalg.norm(expected))
    return np.array(errors)


if __name__ == "__main__":
    main()
