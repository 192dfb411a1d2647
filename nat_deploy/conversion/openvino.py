"""ONNX to OpenVINO: its intermediate representation, an `.xml` graph with a `.bin` of weights."""

import tempfile
from pathlib import Path

import onnx

from nat_deploy.errors import MissingError
from profilers.errors import RuntimeNotInstalledError
from profilers.runtimes.openvino import import_openvino


def write_openvino(model: onnx.ModelProto) -> tuple[bytes, bytes]:
    """The bytes of the `.xml` and of the `.bin` file, which must bear the same name; names of tensors and a free batch stay.

    Raises:
        MissingError: OpenVINO is not installed.
    """
    try:
        openvino = import_openvino()
    except RuntimeNotInstalledError as error:
        raise MissingError(
            f"OpenVINO files need the Python package 'openvino', which cannot be imported here ({error.__cause__}); "
            "install it with: pip install 'natdeploy[openvino]'"
        ) from error
    with tempfile.TemporaryDirectory(prefix="natdeploy-") as folder:
        source, path = Path(folder) / "model.onnx", Path(folder) / "model.xml"
        source.write_bytes(model.SerializeToString())
        # Weights stay float32: by default they would be rounded to float16.
        openvino.save_model(openvino.Core().read_model(str(source)), str(path), compress_to_fp16=False)
        return path.read_bytes(), path.with_suffix(".bin").read_bytes()
