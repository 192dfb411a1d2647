"""One way from an ONNX model to the bytes of the file that a runtime takes."""

import onnx

from nat_deploy.conversion.executorch import write_executorch
from nat_deploy.conversion.layers import read_layers
from nat_deploy.conversion.litert import write_litert


def convert(model: onnx.ModelProto, suffix: str) -> bytes:
    """The model as a file of the kind `suffix`; the same model gives the same bytes.

    Args:
        suffix: ".onnx", ".tflite" or ".pte"; see `profilers.runtimes.model_suffix`.

    Raises:
        MissingError: The package that knows these files is not installed.
        InputError: The model holds something that these files cannot.
    """
    match suffix:
        case ".onnx":
            return bytes(model.SerializeToString(deterministic=True))
        case ".tflite":
            return write_litert(read_layers(model))
        case ".pte":
            return write_executorch(read_layers(model))
    raise ValueError(f"no runtime takes files of the kind {suffix!r}")
