"""Measure how long a thread that scores waits for the interpreter while versions are loaded beside it.

Every 4 ms it scores one record. Its time counts from then on, less what it waited for a core (/proc/self/schedstat), so
the figures hold on a machine that others use. Checking in the process that serves is measured beside checking aside.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from conditions import ROOT, save
from model_swaps import put_live, two_versions

from vaegis.service.http.app import create_app
from vaegis.service.http.models.loader import FolderSource, ModelLoader
from vaegis.service.http.models.registry import ModelRegistry, ServedAs
from vaegis.service.http.models.version_check import VersionChecks
from vaegis.service.http.schemas import rendered
from vaegis.service.records.faults import OnInvalid
from vaegis.service.settings import load_settings
from vaegis.service.verdicts import Explain

MODEL = ROOT / "tests" / "golden" / "orders-v2.onnx"
EVERY_S = 0.004
QUIET_S = 4.0
WAIT_S = 60


def main() -> int:
    """Measure each way in turn, several times, and save the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--loads", type=int, default=20, help="versions that are loaded each time (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="times that each way is measured (%(default)s)")
    parsed = parser.parse_args()
    lags: dict[str, list[float]] = {"without": [], "same_process": [], "aside": []}
    cpu_s = dict.fromkeys(("same_process", "aside"), 0.0)
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings({}, {"model_poll_s": 0.05})
        source = FolderSource(two_versions(Path(folder), MODEL), allow_schema_change=False)
        models: ModelRegistry = create_app(None, settings, served_as=ServedAs("orders")).models
        ModelLoader(source, models, settings).load_first()
        for _ in range(parsed.rounds):
            pause = threading.Timer(QUIET_S, lambda: None)
            pause.start()
            lags["without"] += scored(models, pause.is_alive)
            for way, checks in (("same_process", None), ("aside", VersionChecks(settings))):
                is_live = threading.Event()
                loader = ModelLoader(source, models, settings, lambda _, is_live=is_live: is_live.set(), checks)
                loader.check()
                loader.start(lambda change: change())
                changing = threading.Thread(target=change, args=(Path(folder), models, is_live, parsed.loads))
                changing.start()
                lags[way] += scored(models, changing.is_alive)
                (loading,) = (thread for thread in threading.enumerate() if thread.name == "vaegis-models")
                cpu_s[way] += time.clock_gettime(time.pthread_getcpuclockid(int(loading.ident or 0)))
                loader.close()
    loads = parsed.loads * parsed.rounds
    p99 = {way: statistics.quantiles(values, n=100)[98] for way, values in lags.items()}
    figures: dict[str, object] = {"loads_each_way": loads}
    figures |= {f"p99_ms_{way}": round(value * 1e3, 2) for way, value in p99.items()}
    figures |= {f"p99_ratio_{way}": round(p99[way] / p99["without"], 2) for way in cpu_s}
    figures |= {f"cpu_ms_a_load_{way}": round(seconds / loads * 1e3) for way, seconds in cpu_s.items()}
    save("swap_lag", figures)
    return 0


def change(folder: Path, models: ModelRegistry, is_live: threading.Event, loads: int) -> None:
    """Promote one version after the other, each once the one before is live."""
    for _ in range(loads):
        is_live.clear()
        put_live(folder, "ab"[models.default.live().version == "a"])
        if not is_live.wait(WAIT_S):
            raise SystemExit(f"expected the version to be live within {WAIT_S} s")


def scored(models: ModelRegistry, goes_on: Callable[[], bool]) -> Iterator[float]:
    """Score a record every 4 ms, and yield the seconds that each took without waits for a core."""
    record = rendered(models.default.live().artifact.contract.golden.records[0])
    schedule = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
    due = time.perf_counter()
    while goes_on():
        due = max(due + EVERY_S, time.perf_counter())
        waited_s = waits_for_core_s(schedule)
        time.sleep(max(0.0, due - time.perf_counter()))
        live = models.default.live()
        columns = live.bare_documents.decode(record, OnInvalid.REJECT, lambda: None).columns
        live.artifact.judge(columns, alpha=live.alpha, explain=Explain.ANOMALIES)
        yield max(0.0, time.perf_counter() - due - (waits_for_core_s(schedule) - waited_s))


def waits_for_core_s(schedule: Path) -> float:
    """Return how long a thread has waited for a core in all: the second figure of its schedstat, in nanoseconds."""
    return int(schedule.read_text().split()[1]) / 1e9


if __name__ == "__main__":
    sys.exit(main())
