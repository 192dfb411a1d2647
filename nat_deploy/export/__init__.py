"""Subnets as files that devices run, each compared with the network it came from."""

from nat_deploy.export.engine import EngineReport, check_engine_can_be_built, engine_device, export_engine
from nat_deploy.export.export_subnet import ExportReport, export_subnet, reference_logits
from nat_deploy.export.formats import ENGINE_FORMATS, FORMATS, ModelFormat, check_format, find_format
from nat_deploy.export.parity import ParityReport, Tolerance, compare, run_model
from nat_deploy.export.quantisation import LabelledImages, OnStep, QuantisationReport, TrainingReport
from nat_deploy.export.quantisation_aware import Int8Subnet, quantise_subnet
from nat_deploy.export.sidecar import Sidecar, load_sidecar, sidecar_path
from nat_deploy.export.to_onnx import subnet_to_onnx

__all__ = [
    "ENGINE_FORMATS",
    "FORMATS",
    "EngineReport",
    "ExportReport",
    "Int8Subnet",
    "LabelledImages",
    "ModelFormat",
    "OnStep",
    "ParityReport",
    "QuantisationReport",
    "Sidecar",
    "Tolerance",
    "TrainingReport",
    "check_engine_can_be_built",
    "check_format",
    "compare",
    "engine_device",
    "export_engine",
    "export_subnet",
    "find_format",
    "load_sidecar",
    "quantise_subnet",
    "reference_logits",
    "run_model",
    "sidecar_path",
    "subnet_to_onnx",
]
