"""Running models on many images, through the runtimes that measure them too."""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from nat_deploy.errors import ParityError
from nat_deploy.export.quiet import quiet_libraries
from profilers.errors import ProfilerError
from profilers.runtimes import open_runtime

RUNTIME = "onnxruntime"
INPUT, OUTPUT = "images", "logits"

Images = NDArray[Any]  # float32 (n, 3, r, r), or uint8 (n, r, r, 3) for a model that does its own preprocessing
Logits = NDArray[Any]  # float32 or float64, (n, classes)


def infer(path: Path, images: Images, *, batch_size: int, runtime: str = RUNTIME) -> Iterator[Mapping[str, NDArray[Any]]]:
    """Outputs by name, batch after batch, of a model with one input; the last batch may be smaller.

    Raises:
        ParityError: The runtime refuses the model.
    """
    rest = len(images) % batch_size
    whole = len(images) - rest
    try:
        for part, size in ((images[:whole], batch_size), (images[whole:], rest)):
            if len(part):
                with quiet_libraries():
                    session = open_runtime(runtime).load(path, batch_size=size)
                with session:
                    (name,) = session.inputs
                    for start in range(0, len(part), size):
                        yield session.infer({name: part[start : start + size]})
    except ProfilerError as error:
        raise ParityError(
            f"the exported model must run in {runtime}, but it does not ({error}); the export was not kept"
        ) from error


def infer_model(model: onnx.ModelProto, images: Images, *, batch_size: int) -> Iterator[Mapping[str, NDArray[Any]]]:
    """The same for a model that is not in a file yet."""
    with tempfile.TemporaryDirectory(prefix="natdeploy-") as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(model.SerializeToString())
        yield from infer(path, images, batch_size=batch_size)


def logits_of(model: onnx.ModelProto, images: Images, *, batch_size: int = 16) -> Logits:
    """Logits (n, classes) of a model."""
    return np.concatenate([outputs[OUTPUT] for outputs in infer_model(model, images, batch_size=batch_size)])


def run_node_by_node(model: onnx.ModelProto, images: Images) -> Logits:
    """Logits (n, classes) of a model whose nodes ONNX Runtime executes as they are written, nothing fused: Q/DQ nodes then round as the standard says."""
    import onnxruntime  # few commands need it, and all would wait for it

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    (logits,) = session.run([OUTPUT], {INPUT: images})
    return np.asarray(logits)
