"""What a subnet can be exported to, and what is missing where it cannot."""

from importlib.util import find_spec

from nat_deploy.errors import InputError, MissingError

FORMATS = ("onnx", "trt", "trt-rtx", "executorch", "openvino")
ENGINE_FORMATS = ("trt", "trt-rtx")  # built by the device's own TensorRT, or by TensorRT-RTX

_PACKAGES = {"executorch": "executorch", "openvino": "openvino"}


def check_format(name: str) -> None:
    """Raise unless this version writes the format `name`.

    Raises:
        InputError: There is no such format.
        MissingError: The format is planned; the sentence says what it lacks.
    """
    if name not in FORMATS:
        raise InputError(f"format must be one of {', '.join(FORMATS)}, but it is '{name}'; choose one of these")
    if name == "onnx" or name in ENGINE_FORMATS:
        return
    package = _PACKAGES[name]
    installed = "" if find_spec(package) else f" the Python package '{package}', which is not installed here, and"
    raise MissingError(
        f"format '{name}' needs{installed} a later version of natdeploy, because this one does not write it; use --format onnx"
    )
