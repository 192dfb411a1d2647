"""ONNX to LiteRT: the .tflite file is written directly from the layers, in milliseconds and without TensorFlow.

LiteRT's own converter for PyTorch does not install beside the PyTorch of this package. The file is what that kind of converter
writes: maps in the order (N, H, W, C), activations inside the convolutions before them, h-swish as one operation, a strided
convolution after an explicit border of zeros, because LiteRT's own padding is lopsided there.

Source: the schema of LiteRT models (`ai_edge_litert.schema_py_generated`), version 3.
"""

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nat_deploy.conversion.layers import Array, Convolution, Function, Layer, LayerGraph, Linear, Mean, Shape
from nat_deploy.errors import MissingError

_SCHEMA_VERSION = 3
_IDENTIFIER = b"TFL3"
_ALIGNMENT = 16  # of weights in the file, as the schema asks


def write_litert(graph: LayerGraph) -> bytes:
    """The bytes of a .tflite file; its input and output have the names of the ONNX ones, and a map is (N, H, W, C).

    A free batch stays free; its shape then says 1.

    Raises:
        MissingError: LiteRT is not installed.
    """
    return _Writer(_import_schema(), graph).write()


class _Writer:
    def __init__(self, schema: Any, graph: LayerGraph) -> None:
        self._schema = schema
        self._graph = graph
        self._model = schema.ModelT()
        self._model.version = _SCHEMA_VERSION
        self._model.description = "natdeploy"
        self._model.operatorCodes = []
        self._model.buffers = [schema.BufferT()]  # the first is empty by convention, and belongs to what is computed
        self._places: dict[str, int] = {}  # name -> number of its tensor
        self._codes: dict[int, int] = {}  # operator -> number of its code
        self._subgraph = schema.SubGraphT()
        self._subgraph.name = "main"
        self._subgraph.tensors = []
        self._subgraph.operators = []

    def write(self) -> bytes:
        flatbuffers = importlib.import_module("flatbuffers")  # comes with LiteRT
        self._subgraph.inputs = [self._computed(self._graph.input, self._graph.input_shape)]
        for layer in self._graph.layers:
            self._add(layer)
        self._subgraph.outputs = [self._places[self._graph.output]]
        self._model.subgraphs = [self._subgraph]
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(self._model.Pack(builder), file_identifier=_IDENTIFIER)
        return bytes(builder.Output())

    def _add(self, layer: Layer) -> None:
        match layer:
            case Convolution():
                self._convolution(layer)
            case Linear():
                options = self._options("FullyConnected", fusedActivationFunction=self._bound(layer))
                bias = [] if layer.bias is None else [self._constant(f"{layer.output}.bias", layer.bias)]
                weight = self._constant(f"{layer.output}.weight", layer.weight)
                self._operator("FULLY_CONNECTED", [self._places[layer.inputs[0]], weight, *bias], layer, options)
            case Mean():
                axes = self._constant(f"{layer.output}.axes", np.array([1, 2], np.int32))
                options = self._options("Reducer", keepDims=layer.keeps_axes)
                self._operator("MEAN", [self._places[layer.inputs[0]], axes], layer, options)
            case Function():
                self._function(layer)

    def _function(self, layer: Function) -> None:
        sources = [self._places[name] for name in layer.inputs]
        match layer.kind:
            case "add":
                self._operator("ADD", sources, layer, self._options("Add", fusedActivationFunction=self._bound(layer)))
            case "multiply":
                self._operator("MUL", sources, layer, self._options("Mul", fusedActivationFunction=self._bound(layer)))
            case "hswish":
                self._operator("HARD_SWISH", sources, layer, self._options("HardSwish"))
            case "hsigmoid":  # relu6(x + 3) / 6
                shifted = self._computed(f"{layer.output}.shifted", layer.shape)
                relu6 = self._options("Add", fusedActivationFunction=self._schema.ActivationFunctionType.RELU6)
                self._operation("ADD", [*sources, self._number(3.0)], shifted, relu6)
                self._operator("MUL", [shifted, self._number(1 / 6)], layer, self._options("Mul"))
            case "copy" if layer.bound == "none":
                shape = self._constant(f"{layer.output}.shape", np.array([-1, *_turned(layer.shape)[1:]], np.int32))
                self._operator("RESHAPE", [*sources, shape], layer, self._options("Reshape"))
            case "copy":
                self._operator(layer.bound.upper(), sources, layer, None)

    def _convolution(self, layer: Convolution) -> None:
        schema, source = self._schema, self._places[layer.inputs[0]]
        # "SAME" pads evenly where the kernel fits an odd number of times; elsewhere it pads more at the end than at the start.
        is_even = layer.padding == layer.weight.shape[-1] // 2 and (layer.stride == 1 or layer.in_size % 2 == 1)
        if layer.padding and not is_even:
            border = np.array([[0, 0], [layer.padding] * 2, [layer.padding] * 2, [0, 0]], np.int32)
            size = layer.in_size + 2 * layer.padding
            batch, channels = layer.shape[0], len(layer.weight) if layer.is_depthwise else layer.weight.shape[1]
            padded = self._computed(f"{layer.output}.padded", (batch, channels, size, size))
            self._operation("PAD", [source, self._constant(f"{layer.output}.border", border)], padded, self._options("Pad"))
            source = padded
        settings = {
            "padding": schema.Padding.SAME if is_even else schema.Padding.VALID,
            "strideH": layer.stride,
            "strideW": layer.stride,
            "fusedActivationFunction": self._bound(layer),
        }
        bias = self._constant(f"{layer.output}.bias", layer.bias)
        if layer.is_depthwise:
            weight = self._constant(f"{layer.output}.weight", layer.weight.transpose(1, 2, 3, 0))
            options = self._options("DepthwiseConv2D", depthMultiplier=1, **settings)
            self._operator("DEPTHWISE_CONV_2D", [source, weight, bias], layer, options)
        else:
            weight = self._constant(f"{layer.output}.weight", layer.weight.transpose(0, 2, 3, 1))
            self._operator("CONV_2D", [source, weight, bias], layer, self._options("Conv2D", **settings))

    def _operator(self, operator: str, inputs: list[int], layer: Layer, options: Any) -> None:
        self._operation(operator, inputs, self._computed(layer.output, layer.shape), options)

    def _operation(self, operator: str, inputs: list[int], output: int, options: Any) -> None:
        operation = self._schema.OperatorT()
        operation.opcodeIndex = self._code(getattr(self._schema.BuiltinOperator, operator))
        operation.inputs, operation.outputs = inputs, [output]
        if options is not None:
            operation.builtinOptions = options
            operation.builtinOptionsType = getattr(self._schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        self._subgraph.operators.append(operation)

    def _code(self, operator: int) -> int:
        if operator not in self._codes:
            code = self._schema.OperatorCodeT()
            code.builtinCode = operator
            code.deprecatedBuiltinCode = min(operator, 127)  # readers before 2020 look here
            self._codes[operator] = len(self._model.operatorCodes)
            self._model.operatorCodes.append(code)
        return self._codes[operator]

    def _options(self, name: str, **settings: Any) -> Any:
        options = getattr(self._schema, f"{name}OptionsT")()
        for key, value in settings.items():
            setattr(options, key, value)
        return options

    def _bound(self, layer: Layer) -> int:
        bound: int = getattr(self._schema.ActivationFunctionType, layer.bound.upper())
        return bound

    def _computed(self, name: str, shape: Shape) -> int:
        """A tensor that is computed or fed."""
        turned = _turned(shape)
        tensor = self._tensor(name, turned, self._schema.TensorType.FLOAT32, buffer=0)
        if self._graph.has_free_batch:
            tensor.shapeSignature = [-1, *turned[1:]]
        return self._places[name]

    def _number(self, value: float) -> int:
        return self._constant(f"constant.{value:.6g}", np.array(value, np.float32))

    def _constant(self, name: str, values: Array | NDArray[np.int32]) -> int:
        if name not in self._places:
            buffer = _aligned_buffer(self._schema)
            buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
            self._model.buffers.append(buffer)
            kinds = self._schema.TensorType
            kind = kinds.INT32 if values.dtype == np.int32 else kinds.FLOAT32
            self._tensor(name, values.shape, kind, buffer=len(self._model.buffers) - 1)
        return self._places[name]

    def _tensor(self, name: str, shape: Shape, kind: int, *, buffer: int) -> Any:
        tensor = self._schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, list(shape), kind, buffer
        tensor.hasRank = True
        self._places[name] = len(self._subgraph.tensors)
        self._subgraph.tensors.append(tensor)
        return tensor


def _turned(shape: Shape) -> Shape:
    """(N, C, H, W) becomes (N, H, W, C)."""
    return (shape[0], *shape[2:], shape[1]) if len(shape) == 4 else shape


def _aligned_buffer(schema: Any) -> Any:
    """A buffer that packs its bytes at once, at an aligned place: the generated one aligns them to four bytes only."""

    class AlignedBuffer(schema.BufferT):  # type: ignore[misc]
        def Pack(self, builder: Any) -> Any:
            builder.StartVector(1, len(self.data), _ALIGNMENT)
            builder.head -= len(self.data)
            builder.Bytes[builder.head : builder.head + len(self.data)] = self.data.tobytes()
            data = builder.EndVector()
            schema.BufferStart(builder)
            schema.BufferAddData(builder, data)
            return schema.BufferEnd(builder)

    return AlignedBuffer()


def _import_schema() -> Any:
    try:
        return importlib.import_module("ai_edge_litert.schema_py_generated")
    except ImportError as error:
        raise MissingError(
            f"LiteRT files need the Python package 'ai-edge-litert', which cannot be imported here ({error}); "
            "install it with: pip install 'natdeploy[litert]'"
        ) from error
