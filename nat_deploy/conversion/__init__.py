"""ONNX models as the files of other runtimes."""

from nat_deploy.conversion.convert import convert
from nat_deploy.conversion.executorch import write_executorch
from nat_deploy.conversion.layers import read_layers
from nat_deploy.conversion.litert import write_litert
from nat_deploy.conversion.openvino import write_openvino

__all__ = ["convert", "read_layers", "write_executorch", "write_litert", "write_openvino"]
