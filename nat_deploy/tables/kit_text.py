"""What a kit tells the person who measures."""

from nat_deploy.tables.kit_manifest import MANIFEST, Kit

MODELS = "models"
JOB = "job.json"
RESULTS_CSV = "results.csv"
RESULTS_JSONL = "results.jsonl"

_HEAD = """# Measuring a device by hand

This folder holds {num_graphs} ONNX files in `{models}/`: networks and blocks of the search space `{space}`, and one graph that does
nothing. What each of them takes on your device tells natdeploy how fast every other network of the space will be.

* Every file computes one batch of {batch_size} image(s) and takes one float32 input, whose values do not matter.
* Every file computes in **{precision}**. Use **{threads} thread(s)**.
* Weights are random: only time matters, not what comes out.

Keep the device in the state it will work in: its power mode, plugged in or not, cool, nothing else running. Do not change
this state between files. Half of the files are better than none: what is missing is interpolated, and more can be imported later.

Write down: the **device**, the **runtime and its version**, **threads**, and the **power mode**.
"""

_PROFILERS = """
## With Python on the device (best)

Copy this whole folder to the device. It needs Python 3.8 or newer, numpy, and the package `{runtime}` for Python.

    cd FOLDER
    python3 -m profilers measure {job} --results {jsonl}

The files take turns, which keeps warming up and other work of the device from favouring some of them, and every latency comes
with an interval. Stopped in between, the same command goes on. Copy `{jsonl}` back.
"""

_OTHER = """
## With any other tool

Measure the files one by one and write one number for each into `{csv}`: the **median** (or else the mean) of one run in
**milliseconds**, with a point as in `12.34`. Lines left empty count as not measured. Keep the first line and the last line break.

| tool | command | what to write |
|---|---|---|
| ONNX Runtime's perf test | `onnxruntime_perf_test -I -e cpu -x {threads} -y 1 -t 5 {models}/ID.onnx` | `P50 Latency` is in seconds: times 1000 |
| LiteRT's benchmark_model | `benchmark_model --graph=ID.tflite --num_threads={threads} --num_runs=50` (convert the ONNX file first) | `Inference (avg)` is in microseconds: divided by 1000 |
| TensorRT's trtexec | `trtexec --onnx={models}/ID.onnx --stronglyTyped` (TensorRT 11: without the last option) | `GPU Compute Time: median`, in ms already |

## Back home

    natdeploy table import --kit FOLDER --results FOLDER/{csv} --device NAME --runtime RUNTIME --runtime-version VERSION
    natdeploy table import --kit FOLDER --results FOLDER/{jsonl}            # of python3 -m profilers, which says the rest itself

natdeploy prints the target, for `devices.toml`:

    [devices.phone]
    transport = "table"
    target = "..."

and from then on `natdeploy describe` and `natdeploy search` know `--device phone`.

`{manifest}` says which file is which network or block, with the SHA-256 of each; do not change it.
"""


def instructions(kit: Kit) -> str:
    """The text of `INSTRUCTIONS.md`."""
    return (_HEAD + _PROFILERS + _OTHER).format(
        num_graphs=len(kit.graphs),
        models=MODELS,
        space=kit.space,
        batch_size=kit.batch_size,
        threads=kit.threads,
        precision=kit.precision,
        runtime=kit.runtime,
        job=JOB,
        csv=RESULTS_CSV,
        jsonl=RESULTS_JSONL,
        manifest=MANIFEST,
    )
