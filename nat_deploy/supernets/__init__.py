"""Weight-sharing networks, and the plain networks that are cut out of them."""

from nat_deploy.supernets.calibration import calibrate_batch_norm
from nat_deploy.supernets.make_supernet import make_supernet
from nat_deploy.supernets.mbconv_supernet import MBConvSupernet
from nat_deploy.supernets.resnet_supernet import ResNetSupernet
from nat_deploy.supernets.subnet import Subnet, load_subnet_weights, load_weights, predict_logits, save_weights
from nat_deploy.supernets.supernet import Supernet, extract_subnet
from nat_deploy.supernets.supernet_file import SupernetInfo, load_supernet, read_supernet_info, save_supernet

__all__ = [
    "MBConvSupernet",
    "ResNetSupernet",
    "Subnet",
    "Supernet",
    "SupernetInfo",
    "calibrate_batch_norm",
    "extract_subnet",
    "load_subnet_weights",
    "load_supernet",
    "load_weights",
    "make_supernet",
    "predict_logits",
    "read_supernet_info",
    "save_supernet",
    "save_weights",
]
