"""Blocks and networks as ONNX graphs, built directly. No torch in here."""

from nat_deploy.onnx_graphs.block_graph import fold_batch_norm
from nat_deploy.onnx_graphs.int8 import takes_int8
from nat_deploy.onnx_graphs.network import BATCH_AXIS, OPSET, build_graph, build_identity_graph
from nat_deploy.onnx_graphs.precision import Int8Form, Precision, Quantisation, Range
from nat_deploy.onnx_graphs.random_weights import draw_weights
from nat_deploy.onnx_graphs.weights import Weights, check_weights, layer_names, weight_shapes

__all__ = [
    "BATCH_AXIS",
    "OPSET",
    "Int8Form",
    "Precision",
    "Quantisation",
    "Range",
    "Weights",
    "build_graph",
    "build_identity_graph",
    "check_weights",
    "draw_weights",
    "fold_batch_norm",
    "layer_names",
    "takes_int8",
    "weight_shapes",
]
