"""Searches on real images from the shipped supernet, and what they are worth.

    python benchmarks/search_on_images.py --data flowers5/ --budget-share 0.4 --out RUN

Prints the accuracy on test images of
  - the networks that the search returned, with their measured latencies beside the budget (measured again, in a sitting of its own);
  - the same networks without adaptation: shipped weights, only a new classifier trained for as many epochs;
  - the best of 100 random networks under the same budget, with the weights of the search (chosen on validation images, as the search chooses).
The budget is the latency that the given share of random networks is predicted to meet. `front.svg` in the run folder shows archive, front and random networks.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from benchmarks.machine import circumstances
from nat_deploy.data import load_data
from nat_deploy.profiling import find_device, measure_architectures
from nat_deploy.report import PicturePoint, write_front_picture
from nat_deploy.search import ERROR, LATENCY, RunFolder, SearchEvent
from nat_deploy.spaces import Architecture
from nat_deploy.supernets import load_supernet
from nat_deploy.training.adapt import AdaptationSettings, prepare_supernet
from nat_deploy.training.evaluator import EvaluatorSettings, SupernetEvaluator
from nat_deploy.walk import SearchRequest, search_network, shipped_supernet
from nat_deploy.walk.latency import get_latency_model
from nat_deploy.walk.search import SilentListener
from profilers import Settings


class Log(SilentListener):
    """Prints a line per finished step."""

    def on_train(self, done: int, total: int) -> None:
        if done == total:
            print("adapted", flush=True)

    def on_search(self, event: SearchEvent) -> None:
        if event.done == event.total:
            print(f"iteration {event.iteration}: {event.step}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--budget-share", type=float, default=0.4)
    parser.add_argument("--max-train", type=int)
    parser.add_argument("--iterations", type=int, default=4)
    parser.add_argument("--first-epochs", type=float, default=20)
    parser.add_argument("--further-epochs", type=float, default=2)
    parser.add_argument("--random", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    pretrained, info = load_supernet(shipped_supernet())
    latency = get_latency_model(find_device("cpu"), pretrained.space, run=args.out, profile_minutes=1.5, seed=args.seed)
    rng = np.random.default_rng(args.seed)
    drawn = pretrained.space.sample(rng, 1000)
    budget_ms = float(f"{np.quantile(latency.predictor.predict(drawn).value, args.budget_share):.2g}")
    request = SearchRequest(
        latency_budgets=(f"{budget_ms}ms",),
        data=(args.data,),
        effort="quick",
        iterations=args.iterations,
        first_epochs=args.first_epochs,
        further_epochs=args.further_epochs,
        max_train=args.max_train,
        finalists=4,
        seed=args.seed,
    )
    found = search_network(request, args.out, Log(), resume=True)
    space = found.space
    data = load_data(args.data, image_size=max(space.resolutions), seed=args.seed, max_train=args.max_train)

    adapted = SupernetEvaluator(prepare_supernet(pretrained, data, space.resolutions, seed=args.seed), data, EvaluatorSettings())
    RunFolder.read(args.out).load_newest_checkpoint(ERROR, adapted)
    finalists = [space.decode(np.array(finalist.genes)) for finalist in found.result.finalists]
    again = measure_architectures(
        find_device("cpu"), space, finalists, work_dir=args.out / "again", settings=Settings.preset("default"), seed=1
    )

    head_only = SupernetEvaluator(
        prepare_supernet(pretrained, data, space.resolutions, seed=args.seed),
        data,
        EvaluatorSettings(first=AdaptationSettings(epochs=args.first_epochs, learning_rate=2e-3)),
    )
    for name, parameter in head_only.supernet.named_parameters():
        parameter.requires_grad_(name.startswith("classifier."))
    head_only.adapt(Fixed(space.encode(finalists[0])), np.random.default_rng(args.seed))

    feasible = [genes for genes in space.sample(rng, 5000) if latency.predictor.predict(genes[None]).high[0] <= budget_ms]
    randoms = [space.decode(genes) for genes in feasible[: args.random]]
    errors = list(adapted.evaluate(randoms))
    best_random = randoms[int(np.argmin(errors))]
    costs = latency.predictor.predict(np.array(feasible[: args.random])).value
    drawn_points = [
        PicturePoint(cost=cost, accuracy_percent=100 - error) for cost, error in zip(costs.tolist(), errors, strict=True)
    ]
    write_front_picture(args.out, args.out / "front.svg", random=drawn_points, latency_predictors={LATENCY: latency.predictor})

    def test(evaluator: SupernetEvaluator, architecture: Architecture) -> float:
        accuracy = evaluator.test_accuracy(architecture)
        assert accuracy is not None
        return accuracy.top1_percent

    rows = [
        {
            "test_top1_percent": test(adapted, architecture),
            "test_top1_percent_without_adaptation": test(head_only, architecture),
            "search_measured_ms": [record.median_ms for record in finalist.latencies],
            "again_ms": [measured.median_ms, measured.low_ms, measured.high_ms],
            "within_budget": measured.high_ms <= budget_ms,
        }
        for architecture, finalist, measured in zip(finalists, found.result.finalists, again, strict=True)
    ]
    result = {
        "circumstances": circumstances("natdeploy", "torch", "onnxruntime"),
        "target": latency.table.target.key,
        "data": data.name,
        "training_images": len(data.train),
        "test_images": 0 if data.test is None else len(data.test),
        "budget_ms": budget_ms,
        "settings": {name: value for name, value in vars(args).items() if name not in ("out", "data")},
        "returned": rows,
        "best_of_random": {
            "count": len(randoms),
            "validation_top1_percent": 100 - min(errors),
            "test_top1_percent": test(adapted, best_random),
        },
        "chosen_validation_top1_percent": 100 - found.chosen.error_percent,
        "supernet": info.trained_on,
    }
    text = json.dumps(result, indent=1)
    (args.out / "result.json").write_text(text)
    print(text)


class Fixed:
    """A distribution of one architecture."""

    def __init__(self, genes: np.ndarray) -> None:
        self.genes = genes

    def sample(self, rng: np.random.Generator, count: int) -> np.ndarray:
        return np.tile(self.genes, (count, 1))


if __name__ == "__main__":
    main()
