"""ONNX to ExecuTorch: a .pte program of a single call to XNNPACK, written directly from the layers.

ExecuTorch's own path from PyTorch (export, lowering, partitioning) takes 10 to 20 seconds a network, too long to profile a search
space with. Here the graph that XNNPACK runs is written out at once and saved by ExecuTorch's own serialisers. Maps enter and leave as
(N, C, H, W), as in PyTorch, and are turned to XNNPACK's (N, H, W, C) at both borders, as ExecuTorch does.

Source: the schemas of the package (`executorch.exir.schema`, `executorch.backends.xnnpack.serialization`), version 1.5.
"""

import hashlib
import importlib
import logging
import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from nat_deploy.conversion.layers import Array, Bound, Convolution, Function, Layer, LayerGraph, Linear, Mean, Shape
from nat_deploy.errors import MissingError

_ALIGNMENT = 16  # of constants
_NO_VALUE = 2**32 - 1  # XNN_INVALID_VALUE_ID
_NO_OFFSET = 2**64 - 1
_EXTERNAL_FLAGS = (1, 2)  # XNN_VALUE_FLAG_EXTERNAL_INPUT and ..._OUTPUT
_KEEP_DIMS = 64  # XNN_FLAG_KEEP_DIMS
_TURN, _TURN_BACK = [0, 2, 3, 1], [0, 3, 1, 2]
_BOUNDS: Mapping[Bound, tuple[float, float] | None] = {"none": None, "relu": (0.0, math.inf), "relu6": (0.0, 6.0)}


def write_executorch(graph: LayerGraph) -> bytes:
    """The bytes of a .pte file with the method "forward"; a free batch becomes a batch of 1.

    Raises:
        MissingError: ExecuTorch is not installed.
    """
    with _quiet_package():
        schema = _import("executorch.backends.xnnpack.serialization.xnnpack_graph_schema")
        serialize = _import("executorch.backends.xnnpack.serialization.xnnpack_graph_serialize").serialize_xnnpack_binary
        store = _import("executorch.exir._serialize._named_data_store").NamedDataStore()
        delegated = serialize(_XnnpackWriter(schema, store, graph).write(), bytearray())
        return _program(graph.input_shape, graph.output_shape, delegated, store.get_named_data_store_output())


def _program(input_shape: Shape, output_shape: Shape, delegated: bytes, constants: Any) -> bytes:
    """A program whose one method hands its input to XNNPACK and returns what comes back."""
    schema = _import("executorch.exir.schema")
    serialized = _import("executorch.exir._serialize")
    kind = _import("executorch.exir.scalar_type").ScalarType.FLOAT

    def tensor(shape: Shape, offset: int) -> Any:
        return schema.EValue(
            schema.Tensor(
                scalar_type=kind,
                storage_offset=0,
                sizes=list(shape),
                dim_order=list(range(len(shape))),
                requires_grad=False,
                layout=0,
                data_buffer_idx=0,
                allocation_info=schema.AllocationDetails(1, offset, 0),
                shape_dynamism=schema.TensorShapeDynamism.STATIC,
            )
        )

    sizes = [-(-4 * math.prod(shape) // _ALIGNMENT) * _ALIGNMENT for shape in (input_shape, output_shape)]
    call = schema.Instruction(schema.DelegateCall(delegate_index=0, args=[0, 1]))
    plan = schema.ExecutionPlan(
        name="forward",
        container_meta_type=schema.ContainerMetadata("", ""),
        values=[tensor(input_shape, 0), tensor(output_shape, sizes[0])],
        inputs=[0],
        outputs=[1],
        chains=[schema.Chain(inputs=[], outputs=[], instructions=[call], stacktrace=None)],
        operators=[],
        delegates=[
            schema.BackendDelegate(
                id="XnnpackBackend",
                processed=schema.BackendDelegateDataReference(location=schema.DataLocation.INLINE, index=0),
                compile_specs=[],
            )
        ],
        non_const_buffer_sizes=[0, sum(sizes)],
    )
    program = schema.Program(
        version=0,
        execution_plan=[plan],
        constant_buffer=[schema.Buffer(b"")],
        backend_delegate_data=[schema.BackendDelegateInlineData(delegated)],
        segments=[],
        constant_segment=schema.SubsegmentOffsets(segment_index=0, offsets=[]),
    )
    return bytes(
        serialized._serialize_pte_binary(serialized._PTEFile(program, named_data=constants), extract_delegate_segments=True)
    )


class _XnnpackWriter:
    """Values and nodes of the graph that XNNPACK runs; the weights that they read go into `store`."""

    def __init__(self, schema: Any, store: Any, graph: LayerGraph) -> None:
        self._schema = schema
        self._store = store
        self._graph = graph
        self._offsets = [schema.ConstantDataOffset(0, 0)]  # the first belongs to values that are no constants
        self._values: list[Any] = []
        self._nodes: list[Any] = []
        self._ids: dict[str, int] = {}  # name of a tensor -> its value

    def write(self) -> Any:
        shape = self._graph.input_shape
        entry = self._value(shape, external_id=0)
        self._ids[self._graph.input] = entry if len(shape) != 4 else self._transposed(entry, self._value(_turned(shape)), _TURN)
        for layer in self._graph.layers:
            self._add(layer)
        shape, result = self._graph.output_shape, self._ids[self._graph.output]
        if len(shape) == 4:
            result = self._transposed(result, self._value(shape, external_id=1), _TURN_BACK)
        return self._schema.XNNGraph(
            version="0",
            xnodes=self._nodes,
            xvalues=self._values,
            num_externs=2,
            input_ids=[entry],
            output_ids=[result],
            constant_data=self._offsets,
        )

    def _add(self, layer: Layer) -> None:
        sources = [self._ids[name] for name in layer.inputs]
        is_end = layer.output == self._graph.output and len(layer.shape) != 4
        output = self._ids[layer.output] = self._value(_turned(layer.shape), external_id=1 if is_end else None)
        bounds = _BOUNDS[layer.bound]
        match layer:
            case Convolution():
                self._convolution(layer, sources[0], output)
            case Linear():
                bias = _NO_VALUE if layer.bias is None else self._constant(layer.bias)
                weight = self._constant(layer.weight)
                self._node("FullyConnected", bounds, input1_id=sources[0], filter_id=weight, bias_id=bias, output_id=output)
            case Mean():
                flags = _KEEP_DIMS if layer.keeps_axes else 0
                self._node("GlobalAvgPooling2d", input_id=sources[0], output_id=output, flags=flags)
            case Function(kind="add" | "multiply"):
                name = "Add" if layer.kind == "add" else "Multiply"
                self._node(name, bounds, input1_id=sources[0], input2_id=sources[1], output_id=output)
            case Function(kind="hswish"):
                self._node("Hardswish", input_id=sources[0], output_id=output)
            case Function(kind="hsigmoid"):  # relu6(x + 3) / 6
                shifted, three, sixth = self._value(_turned(layer.shape)), *map(self._number, (3.0, 1 / 6))
                self._node("Add", _BOUNDS["relu6"], input1_id=sources[0], input2_id=three, output_id=shifted)
                self._node("Multiply", input1_id=shifted, input2_id=sixth, output_id=output)
            case Function():
                self._node("Copy" if bounds is None else "Clamp", bounds, input_id=sources[0], output_id=output)

    def _convolution(self, layer: Convolution, source: int, output: int) -> None:
        channels, in_each_group, kernel, _ = layer.weight.shape
        weight = layer.weight.transpose(1, 2, 3, 0) if layer.is_depthwise else layer.weight.transpose(0, 2, 3, 1)
        self._node(
            "DepthwiseConv2d" if layer.is_depthwise else "Conv2d",
            _BOUNDS[layer.bound],
            padding_top=layer.padding,
            padding_right=layer.padding,
            padding_bottom=layer.padding,
            padding_left=layer.padding,
            kernel_height=kernel,
            kernel_width=kernel,
            subsampling_height=layer.stride,
            subsampling_width=layer.stride,
            dilation_height=1,
            dilation_width=1,
            adjustment_height=0,
            adjustment_width=0,
            group_input_channels=in_each_group,
            group_output_channels=1 if layer.is_depthwise else channels,
            groups=channels if layer.is_depthwise else 1,
            input1_id=source,
            filter_id=self._constant(weight),
            bias_id=self._constant(layer.bias),
            output_id=output,
        )

    def _transposed(self, source: int, output: int, order: list[int]) -> int:
        self._node("StaticTranspose", num_dims=4, perm=order, input_id=source, output_id=output)
        return output

    def _node(self, name: str, bounds: tuple[float, float] | None = None, *, flags: int = 0, **fields: Any) -> None:
        operation = getattr(self._schema, f"XNN{name}")(flags=flags, **fields)
        limits = None if bounds is None else self._schema.OutputMinMax(*(_json_number(bound) for bound in bounds))
        self._nodes.append(self._schema.XNode(xnode_union=operation, debug_handle=len(self._nodes), output_min_max=limits))

    def _value(self, shape: Shape, *, external_id: int | None = None, constant: int = 0) -> int:
        """A value of XNNPACK; number 0 is the input of the graph and number 1 its output."""
        value = self._schema.XNNTensorValue(
            datatype=self._schema.XNNDatatype.xnn_datatype_fp32,
            num_dims=len(shape),
            dims=list(shape),
            constant_buffer_idx=constant,
            external_id=_NO_VALUE if external_id is None else external_id,
            flags=0 if external_id is None else _EXTERNAL_FLAGS[external_id],
            id_out=len(self._values),
        )
        self._values.append(self._schema.XValue(xvalue_union=value))
        return len(self._values) - 1

    def _constant(self, values: Array) -> int:
        data = np.ascontiguousarray(values).tobytes()
        name = hashlib.sha256(data).hexdigest()  # the runtime finds constants by name; offsets are a thing of older files
        self._store.add_named_data(name, data, _ALIGNMENT)
        self._offsets.append(self._schema.ConstantDataOffset(offset=_NO_OFFSET, size=len(data), named_key=name))
        return self._value(values.shape, constant=len(self._offsets) - 1)

    def _number(self, value: float) -> int:
        return self._constant(np.array([value], np.float32))


def _turned(shape: Shape) -> Shape:
    """(N, C, H, W) becomes (N, H, W, C)."""
    return (shape[0], *shape[2:], shape[1]) if len(shape) == 4 else shape


def _json_number(value: float) -> float | str:
    """The graph passes through JSON on its way to the file."""
    return value if math.isfinite(value) else "+inf"


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingError(
            f"ExecuTorch files need the Python package 'executorch', which cannot be imported here ({error}); "
            "install it with: pip install 'natdeploy[executorch]'"
        ) from error


@contextmanager
def _quiet_package() -> Iterator[None]:
    """ExecuTorch warns of itself and of what it calls in Python; nobody here can do anything about it."""
    was_disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(was_disabled)
