"""``make soak``: all kinds of calls through both gRPC servers for hours, and what memory they take.

    python -m soak.run MINUTES

One cluster, two gateways, one of each kind; small and large tensors, and answers of a language
model in two stages. The memory of each process is looked at all along;
flat is what in the last quarter has at most 4 MiB, or 4 %, more than in the quarter before. Prints
a table, keeps it in soak-report/, and ends with 1 where something grew or an answer was wrong.
"""

import asyncio
import json
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table
from soak.traffic import Traffic
from soak.writing import slots_lost, write_repository
from support.models.onnx_models import write_identity
from support.processes.fronts import serving_both

ROOT = Path(__file__).parents[2]
REPORT = ROOT / "soak-report"
MIB = 1 << 20
ROWS = 12
MOST_LOOKS = 1440
LEAST_MINUTES = 20
"""In less nothing can be said: caches are still filling."""

GROWTH_MIB, GROWTH = 4.0, 0.04


def main(minutes):
    """Run it, and say whether memory was flat."""
    with tempfile.TemporaryDirectory(prefix="penstock-soak-") as folder:
        models = write_repository(Path(folder))
        digits = ROOT / "examples" / "digits" / "models"
        shutil.copytree(digits, models, dirs_exist_ok=True)
        write_identity(models, "identity", "FP32", batch=False)
        options = ("--http", "--http-port", "0")
        with serving_both(Path(folder) / "run", models, *options) as both:
            looks, traffic, ended = asyncio.run(soak(both, minutes * 60))
            lost = slots_lost(next(iter(both.values())).metrics_url())
    verdicts = {name: verdict_of(rows, minutes) for name, rows in columns(looks).items()}
    shown = table(looks, verdicts)
    Console(width=120).print(shown)
    for front, one in traffic.items():
        print(f"{front}: {dict(one.answered)} right, {dict(one.wrong) or 'nothing'} wrong")
    print(f"{lost or 'no'} slots lost, {len(ended) or 'no'} processes ended")
    keep(looks, verdicts, traffic, shown)
    wrong = lost or ended or any(one.wrong for one in traffic.values())
    return 1 if wrong or any(word == "grows" for word in verdicts.values()) else 0


async def soak(both, seconds):
    """What was seen of all processes, what became of the traffic, and who has ended."""
    traffic = {front: Traffic(one.url, one.http_url(), one.models) for front, one in both.items()}
    tasks = [asyncio.create_task(one.run()) for one in traffic.values()]
    looks, pids, began_s = [], set(), time.monotonic()
    every_s = max(2.0, seconds / MOST_LOOKS)
    while (at_s := time.monotonic() - began_s) < seconds:
        answered = sum(sum(one.answered.values()) for one in traffic.values())
        looks.append({"minutes": at_s / 60, "answered": answered, **memory_of(both)})
        pids |= {pid for found in next(iter(both.values())).processes().values() for pid in found}
        ended = [task for task in tasks if task.done()]
        for task in ended:
            task.result()
        await asyncio.sleep(every_s)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return looks, traffic, [pid for pid in pids if not psutil.pid_exists(pid)]


def memory_of(both):
    """MiB of each process that is not shared with others, by what it is."""
    first, *others = both.items()
    found = {"up": _mib(first[1].pid), "store": _mib(first[1].store.process.pid)}
    for role, pids in first[1].processes().items():
        name = f"gateway {first[0]}" if role == "gateway" else role
        if pids:
            found[name] = sum(map(_mib, pids))
    for front, one in others:
        found[f"gateway {front}"] = _mib(one.gateway_pid)
    return found


def _mib(pid):
    try:
        return psutil.Process(pid).memory_full_info().uss / MIB
    except psutil.NoSuchProcess:
        # That it has ended is counted at the end.
        return 0.0


def columns(looks):
    """What each process had, look by look."""
    return {
        name: [look[name] for look in looks if name in look]
        for name in looks[0]
        if name not in ("minutes", "answered")
    }


def verdict_of(values, minutes):
    """Whether so many MiB, look by look over so many minutes, are flat."""
    if minutes < LEAST_MINUTES:
        return "too short to tell"
    quarter = len(values) // 4
    before, last = values[-2 * quarter : -quarter], values[-quarter:]
    growth = statistics.median(last) - statistics.median(before)
    return "grows" if growth > max(GROWTH_MIB, GROWTH * statistics.median(before)) else "flat"


def table(looks, verdicts):
    """Some of the looks, in their order, and the verdicts."""
    names = list(columns(looks))
    shown = Table("minutes", "answered", *names, title="MiB of each process, shared pages left out")
    for place in range(ROWS):
        look = looks[place * (len(looks) - 1) // (ROWS - 1)]
        cells = [f"{look[name]:.1f}" if name in look else "" for name in names]
        shown.add_row(f"{look['minutes']:.1f}", f"{look['answered']:,}", *cells)
    shown.add_section()
    shown.add_row("", "", *(verdicts[name] for name in names))
    return shown


def keep(looks, verdicts, traffic, shown):
    """Write all of it down."""
    REPORT.mkdir(exist_ok=True)
    counted = {
        front: {"answered": one.answered, "wrong": one.wrong} for front, one in traffic.items()
    }
    whole = {"verdicts": verdicts, "traffic": counted, "looks": looks}
    (REPORT / "soak.json").write_text(json.dumps(whole) + "\n")
    with (REPORT / "soak.txt").open("w") as file:
        Console(file=file, width=120).print(shown)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1])))
