"""Trains the supernet that the package ships, on Tiny ImageNet or any other folder of images.

    python benchmarks/pretrain_supernet.py --data DIR --out RUN --width 0.5 --ship nat_deploy/weights/NAME.safetensors

Stop it at any time: called again with the same arguments it goes on after the last finished epoch. `RUN/log.jsonl` has a line per epoch. On a GPU add
`--device cuda --autocast bfloat16` and more epochs.
"""

import argparse
import sys
from pathlib import Path

import torch

from nat_deploy.data import Augmentation, load_data
from nat_deploy.spaces import OfaMobileNetV3Space
from nat_deploy.supernets import OfaMobileNetV3Supernet, load_supernet, save_supernet
from nat_deploy.training.phases import sandwich_schedule
from nat_deploy.training.pretrain import TrainingSettings, train_supernet
from nat_deploy.training.step import StepSettings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with train/ and val/, one folder per class in each")
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoint and log")
    parser.add_argument("--ship", type=Path, help="supernet file (float16) to write at the end")
    parser.add_argument("--start", type=Path, help="supernet file whose weights training starts from, instead of random ones")
    parser.add_argument("--width", type=float, default=0.5)
    parser.add_argument("--resolutions", default="32,40,48,56,64")
    parser.add_argument("--largest-epochs", type=int, default=16)
    parser.add_argument("--sandwich-epochs", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=4e-3)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--random-subnets", type=int, default=1, help="beside the largest and the smallest, in each step")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--autocast", default="off", choices=("off", "bfloat16", "float16"))
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    resolutions = tuple(int(size) for size in args.resolutions.split(","))
    data = load_data(args.data, image_size=resolutions[-1], seed=0)
    data = type(data)(
        name=data.name,
        train=data.train.to(args.device),
        val=data.val.to(args.device),
        test=None,
        class_names=data.class_names,
        augmentation=Augmentation(),
    )
    space = OfaMobileNetV3Space(args.width, resolutions, data.num_classes)
    supernet = OfaMobileNetV3Supernet(space, torch.Generator().manual_seed(0))
    if args.start:
        supernet.load_state_dict(load_supernet(args.start)[0].state_dict())
    supernet = supernet.to(args.device, memory_format=torch.channels_last)
    phases = sandwich_schedule(
        resolutions=resolutions,
        largest_epochs=args.largest_epochs,
        sandwich_epochs=args.sandwich_epochs,
        learning_rate=args.learning_rate,
        num_random=args.random_subnets,
    )
    settings = TrainingSettings(batch_size=args.batch_size, step=StepSettings(autocast=args.autocast))
    train_supernet(supernet, data, phases, settings, args.out, on_epoch=lambda record: print(record, file=sys.stderr, flush=True))
    if args.ship:
        save_supernet(args.ship, supernet, class_names=data.class_names, trained_on=data.name, half=True)


if __name__ == "__main__":
    main()
