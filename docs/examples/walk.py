"""The whole walk in Python: python walk.py my_photos 2ms"""

import sys
from pathlib import Path

import nat_deploy as nd

photos, budget = sys.argv[1:3]
run = Path("run")

profiled = nd.profile_device("cpu", networks=12)  # once per machine; more networks predict better
print(f"{profiled.table.target.key}: {profiled.card.num_networks} networks measured")

request = nd.SearchRequest(
    latency_budgets=(budget,), data=(photos,), effort="quick", iterations=1, first_epochs=1, finalists=2
)  # a first try
found = nd.search_network(request, run)
print(f"{100 - found.chosen.error_percent:.1f} % on validation images, {found.chosen.latencies[0].median_ms:.3f} ms measured")

predicted = nd.describe_subnet(found.subnet_file, device=nd.find_device("cpu")).latency
model = nd.export_subnet(nd.load_subnet(found.subnet_file), run / "model.onnx").model
verified = nd.benchmark_files([model], "cpu").results[0]
print(f"{model}: {verified.measurement.median_ms:.3f} ms measured again, {predicted.value_ms:.3f} ms predicted")
print(nd.write_report(run))
