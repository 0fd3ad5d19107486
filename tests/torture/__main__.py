"""Signals, full disks and folders that vanish, at random moments of exports, `quantize`, `push` and `verify`.

    cd tests && python -m torture --kills 200 --faults 60 --seed 1

After each: nothing at the target, what was there before, or the whole new result; after the next undisturbed run: byte
for byte what there is after an undisturbed run alone. The last line has the figures; the exit code is 1 where something
did not hold. docs/reliability.md says more.
"""

from __future__ import annotations

import argparse
import collections
import multiprocessing
import os
import random
import secrets
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from package_index import serving
from torture.box import Box
from torture.jobs import Job, Material, make_material
from torture.run import Fault
from torture.series import Reference, Series, SeriesResult, can_mount, faults_of, reference, run_series

_SIGNALS = ("KILL", "KILL", "TERM", "HUP", "INT", "INT INT")
_PER_SERIES = 3  # at most


def plan(jobs: list[Job], kills: int, faults: int, seed: int, mounts: bool) -> list[Series]:
    """Series with `kills` signals and `faults` of the disk in all, the same for the same seed."""
    draw = random.Random(seed)
    series: list[Series] = []
    left = {"kills": kills, "faults": faults}
    while any(left.values()):
        which = draw.choices(list(left), list(left.values()))[0]
        job = draw.choice(jobs)
        count = min(left[which], draw.randint(1, _PER_SERIES))
        left[which] -= count
        if which == "kills":
            chosen = tuple(faults_of(job, draw, _SIGNALS) for _ in range(count))
        else:
            chosen = tuple(_fault(job, draw, mounts) for _ in range(count))
        series.append(Series(len(series), job.name, chosen, draw.getrandbits(32)))
    return series


def _fault(job: Job, draw: random.Random, mounts: bool) -> Fault:
    """Something that happens to a folder the job writes to."""
    folders = {"push": ["phone/device", "tmp"], "verify": ["tmp", "out"]}.get(job.verb, ["out", "tmp", "cache"])
    kinds = ["vanished"] + ["full", "full", "read-only"] * mounts + ["file size"] * (job.verb != "push")
    kind = draw.choice(kinds)
    name = kind if kind == "file size" else f"{kind} {draw.choice(folders)}"
    return Fault(name, draw.random(), room=draw.choice([0, draw.randrange(10_000), draw.randrange(150_000)]))


_state: tuple[Path, Material, dict[str, Job], dict[str, Reference], str]


def _work(series: Series) -> SeriesResult:
    root, material, jobs, references, index = _state
    box = Box(root / f"box-{os.getpid()}")
    return run_series(series, jobs[series.job], box, material, index, references[series.job])


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(prog="torture", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=200, help="signals that hit a running process")
    parser.add_argument("--faults", type=int, default=60, help="faults of disks and folders")
    parser.add_argument("--seed", type=int, default=None, help="draws jobs, faults and moments; random if not given")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", default="", help="jobs whose names contain this")
    parser.add_argument("--series", type=int, help="this one of the plan alone")
    parser.add_argument("--folder", type=Path, help="to work in, on a disk; a temporary one if not given")
    given = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it, and their children
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # so does nohup
    seed = secrets.randbelow(1_000_000) if given.seed is None else given.seed
    root = Path(tempfile.mkdtemp(prefix="torture-", dir=given.folder))
    begun = time.monotonic()
    (root / "material").mkdir()
    mounts = can_mount(root / "material")
    print(f"seed {seed}, in {root}{'' if mounts else '; no rights to mount: no full or read-only disks'}", flush=True)
    material = make_material(root / "material")
    jobs = {job.name: job for job in material.jobs() if given.only in job.name}
    with serving("small", material.wheels) as index:
        references = {name: reference(job, Box(root / "box"), material, index.url) for name, job in jobs.items()}
        for name, found in references.items():
            print(f"{name}: {found.measure.events} events, {found.measure.seconds:.1f} s", flush=True)
        global _state
        _state = (root, material, jobs, references, index.url)
        series = plan(list(jobs.values()), given.kills, given.faults, seed, mounts)
        if given.series is not None:
            series = [series[given.series]]
        results = []
        with multiprocessing.get_context("fork").Pool(given.processes) as pool:
            for result in pool.imap_unordered(_work, series):
                results.append(result)
                _tell(result)
    asked = sum(len(one.faults) for one in series)
    line, failed = summary(results, asked, seed, time.monotonic() - begun)
    print(line)
    if not failed:
        shutil.rmtree(root)
    return 1 if failed else 0


def _tell(result: SeriesResult) -> None:
    series = result.series
    faults = "; ".join(f"{fault} -> {ended.code}" for fault, ended in result.faults)
    print(f"{series.number} {series.job}: {faults} ({result.seconds:.0f} s)", flush=True)
    for problem in result.problems:
        print(f"    PROBLEM {problem}", flush=True)


def summary(results: list[SeriesResult], asked: int, seed: int, seconds: float) -> tuple[str, bool]:
    """The closing line, and whether a series had a problem or fewer faults came than were `asked` for."""
    kinds: collections.Counter[str] = collections.Counter()
    verbs: collections.Counter[str] = collections.Counter()
    for result in results:
        for fault, _ in result.faults:
            kinds[fault.kind if fault.signals else fault.kind.partition(" ")[0]] += 1
            verbs[result.series.job] += 1
    failed = sum(bool(result.problems) for result in results)
    kills = sum(1 for result in results for fault, _ in result.faults if fault.signals)
    faults = sum(len(result.faults) for result in results) - kills
    runs = sum(result.runs for result in results)
    shown = ", ".join(f"{name} {count}" for name, count in sorted(kinds.items()))
    of = ", ".join(f"{name} {count}" for name, count in sorted(verbs.items()))
    short = f", {asked - kills - faults} came too late" if kills + faults < asked else ""
    return (
        f"torture: seed {seed}: {kills} kills and {faults} faults ({shown}) of {of}{short}; {runs} runs in "
        f"{len(results)} series, {failed} with a problem, {seconds:,.0f} s",
        bool(failed or short),
    )


if __name__ == "__main__":
    sys.exit(main())
