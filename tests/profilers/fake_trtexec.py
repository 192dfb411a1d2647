"""A program that takes the switches of one generation of trtexec and answers in its format; times are invented.

Run as `python fake_trtexec.py GENERATION FOLDER ARGUMENTS...`; the arguments of each call are appended to FOLDER/calls.
The layout follows NVIDIA's sources of trtexec 8.5, 10.3 and 11.0 (samples/common, Apache-2.0): `sampleReporting.cpp` for the
summary and `--exportTimes`, `sampleOptions.cpp` for the help.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

HEADER = {"8.2": "TensorRT v8205", "8.5": "TensorRT v8502", "10.3": "TensorRT v100300", "11.0": "TensorRT v110000] [b114"}
VERSION = {"8.5": "8.5.2", "10.3": "10.3.0", "11.0": "11.0.0"}
COMMON = ["--onnx", "--saveEngine", "--loadEngine", "--shapes", "--avgTiming", "--noTF32", "--exportTimes", "--iterations",
          "--duration", "--warmUp", "--useCudaGraph", "--noDataTransfers", "--useSpinWait"]  # fmt: skip
HELP = {
    "8.2": [*COMMON, "--buildOnly", "--fp16", "--int8"],
    "8.5": [*COMMON, "--buildOnly", "--fp16", "--int8"],
    "10.3": [*COMMON, "--skipInference", "--fp16", "--int8", "--stronglyTyped", "--builderOptimizationLevel"],
    "11.0": [*COMMON, "--skipInference", "--builderOptimizationLevel", "--includeDataTransfers", "--noSpinWait", "--noCudaGraph"],
}
GPU_MS = 0.5


def main(generation: str, folder: str, arguments: list[str]) -> int:
    with Path(folder, "calls").open("a") as calls:
        calls.write(json.dumps(arguments) + "\n")
    switches = dict(argument.partition("=")[::2] for argument in arguments)
    print(f"&&&& RUNNING TensorRT.trtexec [{HEADER[generation]}] # trtexec {' '.join(arguments)}")
    if "--help" in switches:
        print("=== Model Options ===")
        for switch in HELP[generation]:
            print(f"  {switch}=<value>    Explained in words" if switch in HELP[generation][:10] else f"  {switch}    Explained")
        return 0
    unknown = [switch for switch in switches if switch not in HELP[generation]]
    if unknown:
        print(f"[11/23/2026-12:00:00] [E] Unknown option: {unknown[0]}")
        print(f"&&&& FAILED TensorRT.trtexec [{HEADER[generation]}]")
        return 1
    print("[11/23/2026-12:00:00] [I] === Device Information ===")
    print("[11/23/2026-12:00:00] [I] Selected Device: Orin\n[11/23/2026-12:00:00] [I] Compute Capability: 8.7")
    if generation in VERSION:
        print(f"[11/23/2026-12:00:00] [I] TensorRT version: {VERSION[generation]}")
    if "--onnx" in switches:
        if b"MatMul" not in Path(switches["--onnx"]).read_bytes():
            print("[11/23/2026-12:00:00] [E] [TRT] ModelImporter.cpp:726: no importer for this node")
            print(f"&&&& FAILED TensorRT.trtexec [{HEADER[generation]}]")
            return 1
        Path(switches["--saveEngine"]).write_bytes(b"ftrt")
    else:
        time_runs(generation, switches)
    print(f"&&&& PASSED TensorRT.trtexec [{HEADER[generation]}]")
    return 0


def time_runs(generation: str, switches: dict[str, str]) -> None:
    is_new = generation == "11.0"
    transfers = "--includeDataTransfers" in switches if is_new else "--noDataTransfers" not in switches
    graph = "--noCudaGraph" not in switches if is_new else "--useCudaGraph" in switches
    copy_ms = 0.1 if transfers else 0.0
    enqueue_ms = 0.01 if graph else 0.2
    warm_up = int(switches["--warmUp"])
    first = -3 if generation == "8.2" else 0  # it exported the runs of the warm-up too
    rows = []
    for number in range(first, int(switches["--iterations"])):
        start = warm_up + 1 + number * 1.0
        if number < 0:
            start = 10.0 + number
        compute, end = start + copy_ms, start + copy_ms + GPU_MS
        rows.append(
            {"startEnqMs": start, "endEnqMs": start + enqueue_ms, "startH2dMs": start, "endH2dMs": compute, "startComputeMs": compute,
             "endComputeMs": end, "startD2hMs": end, "endD2hMs": end + copy_ms, "h2dMs": copy_ms, "computeMs": GPU_MS if number >= 0 else 99.0,
             "d2hMs": copy_ms, "latencyMs": GPU_MS + 2 * copy_ms}
        )  # fmt: skip
    Path(switches["--exportTimes"]).write_text(json.dumps(rows, indent=1))
    print(summary(generation, enqueue_ms, copy_ms))


def summary(generation: str, enqueue_ms: float, copy_ms: float) -> str:
    shares = ("99",) if generation == "8.2" else ("90", "95", "99")
    lines = ["=== Performance summary ===", "Throughput: 745.412 qps"]
    latency = {"Latency": GPU_MS + 2 * copy_ms, "Enqueue Time": enqueue_ms, "H2D Latency": copy_ms, "GPU Compute Time": GPU_MS,
               "D2H Latency": copy_ms}  # fmt: skip
    if generation == "8.2":
        latency["End-to-End Host Latency"] = 1.0
    for name, value in latency.items():
        tail = ", ".join(f"percentile({share}%) = {value} ms" for share in shares)
        lines.append(f"{name}: min = {value} ms, max = {value} ms, mean = {value} ms, median = {value} ms, {tail}")
    lines += ["Total Host Walltime: 3.00322 s", "Total GPU Compute Time: 2.99 s"]
    return "\n".join(f"[11/23/2026-12:00:01] [I] {line}" for line in lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
