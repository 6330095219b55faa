"""The main job on real records: train on the sample, serve the model, post the live records, show what came back."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO, TypeAlias
from urllib.request import Request, urlopen

import pyarrow.parquet as pq

from vaegis.training.evaluation.intervals import promised_band

ROOT = Path(__file__).resolve().parent.parent
TRAIN = ROOT / "demo" / "shuttle" / "train.parquet"
LIVE = ROOT / "demo" / "shuttle" / "live.parquet"
MODEL = ROOT / "build" / "shuttle.onnx"
LOG = ROOT / "build" / "shuttle-serve.log"
COMMANDS = Path(sys.executable).parent  # where the environment that runs this keeps its commands
LABEL = "anomaly"
BATCH_RECORDS = 1000
SHOWN_RECORDS = 5
SHOWN_COLUMNS = 3
SHOWN_P_VALUES = ("0.001", "0.01", "0.1", "0.5", "1.0")
TIMEOUT_S = 60
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells have it

Document: TypeAlias = dict[str, Any]


def main() -> int:
    """Run the demo, and return its exit code."""
    MODEL.parent.mkdir(exist_ok=True)
    with started("vaegis-train", TRAIN, "-o", MODEL) as training:
        if training.wait():
            return training.returncode
    table = pq.read_table(LIVE)
    labels = table[LABEL].to_pylist()
    records = table.drop_columns(LABEL).to_pylist()  # the service never sees the labels
    with serving() as address:
        begin = time.perf_counter()
        answers = [post(address, records[at : at + BATCH_RECORDS]) for at in range(0, len(records), BATCH_RECORDS)]
        rate = len(records) / (time.perf_counter() - begin)
        print(f"posted {len(records):,} live records in batches of {BATCH_RECORDS:,}: {rate:,.0f} records/s")
        results = [result for answer in answers for result in answer["results"]]
        print_rates(answers[0], [result["is_anomaly"] for result in results], labels)
        print_most_anomalous(results, labels)
        print_metrics(read_metrics(address))
    return 0


@contextmanager
def started(command: str, *arguments: str | Path, log: TextIO | None = None) -> Iterator[subprocess.Popen[str]]:
    """Start a command, shown as a user would type it; end it by SIGTERM, whatever happens meanwhile.

    Where there is a log, the command's stderr goes there, and its stdout can be read; otherwise both are shown.
    """
    shown = [str(argument).removeprefix(f"{ROOT}/") for argument in arguments]
    print("$", command, *shown, flush=True)
    process = subprocess.Popen(
        [COMMANDS / command, *shown], cwd=ROOT, text=True, stdout=subprocess.PIPE if log else None, stderr=log
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(TIMEOUT_S)


@contextmanager
def serving() -> Iterator[str]:
    """Serve the model on a free port, yield the address, and see that the service stops cleanly."""
    with LOG.open("w") as log, started("vaegis", "serve", MODEL, "--port", "0", log=log) as service:
        line = service.stdout.readline().strip() if service.stdout else ""
        address = re.search(r"http://\S+$", line)
        if address is None:
            service.wait(TIMEOUT_S)
            raise SystemExit(f"expected the service to name its address, got {line!r} and {LOG.read_text().strip()!r}")
        print(line)
        yield address[0]
    if service.returncode:
        raise SystemExit(f"expected the service to end with exit code 0, got {service.returncode}; see {LOG}")
    print("the service has stopped with exit code 0")


def post(address: str, records: Sequence[Document]) -> Document:
    """Have records scored, and return the answer."""
    request = Request(f"{address}/score", json.dumps(records).encode(), {"Content-Type": "application/json"})
    with urlopen(request, timeout=TIMEOUT_S) as answer:
        document: Document = json.load(answer)
    return document


def read_metrics(address: str) -> dict[str, float]:
    """Return the service's metrics, by name and labels."""
    with urlopen(f"{address}/metrics", timeout=TIMEOUT_S) as answer:
        lines = answer.read().decode().splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def print_rates(answer: Document, flagged: Sequence[bool], labels: Sequence[bool]) -> None:
    """Print how many records were flagged, how many of these wrongly, and how many anomalies were caught."""
    alpha, calibration_records = answer["alpha"], answer["calibration_records"]
    anomalies = sum(labels)
    normal = len(labels) - anomalies
    caught = sum(flag and label for flag, label in zip(flagged, labels, strict=True))
    false_alarms = sum(flagged) - caught
    band = promised_band(calibration_records, normal, alpha)
    print()
    print(f"flagged            {sum(flagged):,} of {len(labels):,}")
    print(f"false-alarm rate   {false_alarms / normal:.2%} of {normal:,} normal records; promised: at most {alpha:.2%}")
    chance = f"chance alone gives {band.low:.2%} to {band.high:.2%} with {calibration_records:,} calibration records"
    print(f"                   ({chance})")
    print(f"anomalies caught   {caught / anomalies:.2%} ({caught:,} of {anomalies:,})")


def print_most_anomalous(results: Sequence[Document], labels: Sequence[bool]) -> None:
    """Print the records of the highest scores, each with the columns that add most to it."""
    print(f"\nthe {SHOWN_RECORDS} most anomalous records, and the columns that add most to their scores")
    for row in sorted(range(len(results)), key=lambda row: -results[row]["score"])[:SHOWN_RECORDS]:
        result = results[row]
        label = "an anomaly" if labels[row] else "normal"
        print(f"  record {row}: score {result['score']:.1f}, p = {result['p_value']:.2g}, labelled {label}")
        print(f"    {', '.join(result['reasons'])} (latent term {result['latent_contribution']:.1f})")
        for item in (result["contributions"] or [])[:SHOWN_COLUMNS]:
            print(
                f"    {item['column']:<8} {item['contribution']:>6.1f}   "
                f"observed {item['observed']:>6}   expected {item['expected']:>5}   {item['reason'] or ''}".rstrip()
            )


def print_metrics(metrics: dict[str, float]) -> None:
    """Print what the service itself counted."""
    print("\nfrom the service's /metrics")
    (label,) = {found[1] for name in metrics if (found := re.search(r'^vaegis_alpha_ratio{(model="[^"]*")}', name))}
    for name in ("vaegis_records_scored_total", "vaegis_records_flagged_total"):
        print(f"  {name:<34} {metrics[f'{name}{{{label}}}']:,.0f}")
    for bound in SHOWN_P_VALUES:
        count = metrics[f'vaegis_p_value_bucket{{le="{bound}",{label}}}']
        share = count / metrics[f"vaegis_p_value_count{{{label}}}"]
        shown = f'vaegis_p_value_bucket{{le="{bound}"}}'
        print(f"  {shown:<34} {count:,.0f} ({share:.1%} of the records)")
    seconds = metrics[f"vaegis_inference_seconds_sum{{{label}}}"]
    per_record = 1e6 * seconds / metrics[f"vaegis_records_scored_total{{{label}}}"]
    print(f"  {'vaegis_inference_seconds_sum':<34} {seconds:.2f} ({per_record:.0f} us a record)\n")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
