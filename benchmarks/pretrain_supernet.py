"""Trains the supernet that the package ships, on Tiny ImageNet or any other folder of images.

    python benchmarks/pretrain_supernet.py --data DIR --out RUN --width 0.5 --ship nat_deploy/weights/NAME.safetensors

Stop it at any time: called again with the same arguments it goes on after the last finished epoch. `RUN/log.jsonl` has a line per epoch. On a GPU add
`--device cuda --autocast bfloat16` and more epochs; on several, `--processes` too (needs the extra `train`). Two phases are the default;
`--progressive-epochs 180,120,25,120,25,120` takes the six of Once-for-all instead.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

import torch

from nat_deploy.data import Augmentation, DataSplits, load_data
from nat_deploy.spaces import OfaMobileNetV3Space
from nat_deploy.supernets import MBConvSupernet, load_supernet, save_supernet
from nat_deploy.training.phases import Phase, progressive_shrinking, sandwich_schedule
from nat_deploy.training.pretrain import TrainingSettings, train_supernet
from nat_deploy.training.process_group import ALONE, Processes, run_in_processes
from nat_deploy.training.step import StepSettings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with train/ and val/, one folder per class in each")
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoint and log")
    parser.add_argument("--ship", type=Path, help="supernet file (float16) to write at the end")
    parser.add_argument("--start", type=Path, help="supernet file whose weights training starts from, instead of random ones")
    parser.add_argument("--width", type=float, default=0.5)
    parser.add_argument("--resolutions", default="32,40,48,56,64", help="one is drawn for each batch")
    schedule = parser.add_argument_group("schedule")
    schedule.add_argument("--largest-epochs", type=int, default=16)
    schedule.add_argument("--sandwich-epochs", type=int, default=16)
    schedule.add_argument("--random-subnets", type=int, default=1, help="beside the largest and the smallest, in each step")
    schedule.add_argument("--progressive-epochs", help="epochs of the six phases of progressive shrinking, instead of these two")
    steps = parser.add_argument_group("steps")
    steps.add_argument("--learning-rate", type=float, default=4e-3)
    steps.add_argument("--batch-size", type=int, default=128)
    steps.add_argument("--parts", type=int, default=1, help="that a batch is learnt in, which saves memory")
    steps.add_argument("--optimiser", default="adamw", choices=("adamw", "sgd"))
    steps.add_argument("--weight-decay", type=float, default=0.02)
    steps.add_argument("--label-smoothing", type=float, default=0.1)
    steps.add_argument("--distilled-share", type=float, default=0.5, help="of the loss that comes from the teacher")
    steps.add_argument("--average-decay", type=float, default=0.0, help="of a moving average over the weights; 0: none")
    steps.add_argument(
        "--update-unsampled", action="store_true", help="decay and momentum also move weights that a step did not use"
    )
    steps.add_argument("--rand-augment", type=int, default=0, help="random operations on each image")
    steps.add_argument("--cutmix-share", type=float, default=0.0, help="share of batches that are mixed")
    machine = parser.add_argument_group("machine")
    machine.add_argument("--device", default="cpu")
    machine.add_argument("--processes", type=int, default=1, help="one per device; --parts must be a multiple")
    machine.add_argument("--autocast", default="off", choices=("off", "bfloat16", "float16"))
    machine.add_argument("--threads", type=int, default=2, help="of each process")
    args = parser.parse_args()
    if args.processes == 1:
        train(args, ALONE, torch.device(args.device))
    else:
        run_in_processes(partial(train, args), count=args.processes, accelerator=torch.device(args.device).type)


def train(args: argparse.Namespace, processes: Processes, device: torch.device) -> None:
    torch.set_num_threads(args.threads)
    resolutions = tuple(int(size) for size in args.resolutions.split(","))
    found = load_data(args.data, image_size=resolutions[-1], seed=0)
    data = DataSplits(
        name=found.name,
        train=found.train.to(device),
        val=found.val.to(device),
        test=None,
        class_names=found.class_names,
        augmentation=Augmentation(rand_augment=args.rand_augment, cutmix_share=args.cutmix_share),
    )
    space = OfaMobileNetV3Space(args.width, resolutions, data.num_classes)
    supernet = MBConvSupernet(space, torch.Generator().manual_seed(0))
    if args.start:
        supernet.load_state_dict(load_supernet(args.start)[0].state_dict())
    supernet = supernet.to(device).to(memory_format=torch.channels_last)
    step = StepSettings(
        label_smoothing=args.label_smoothing,
        distilled_share=args.distilled_share,
        autocast=args.autocast,
        update_unsampled=args.update_unsampled,
    )
    settings = TrainingSettings(
        batch_size=args.batch_size,
        num_parts=args.parts,
        optimiser=args.optimiser,
        weight_decay=args.weight_decay,
        average_decay=args.average_decay,
        step=step,
    )
    train_supernet(
        supernet,
        data,
        make_phases(args, resolutions),
        settings,
        args.out,
        on_epoch=lambda record: print(record, file=sys.stderr, flush=True),
        processes=processes,
    )
    if args.ship and processes.rank == 0:
        save_supernet(args.ship, supernet, class_names=data.class_names, trained_on=data.name, half=True)


def make_phases(args: argparse.Namespace, resolutions: tuple[int, ...]) -> tuple[Phase, ...]:
    if args.progressive_epochs:
        epochs = [int(count) for count in args.progressive_epochs.split(",")]
        return progressive_shrinking(resolutions=resolutions, epochs=epochs, learning_rate=args.learning_rate)
    return sandwich_schedule(
        resolutions=resolutions,
        largest_epochs=args.largest_epochs,
        sandwich_epochs=args.sandwich_epochs,
        learning_rate=args.learning_rate,
        num_random=args.random_subnets,
    )


if __name__ == "__main__":
    main()
