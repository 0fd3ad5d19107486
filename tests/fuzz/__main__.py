"""Seeded inputs for everything that reads what others wrote, as many as the time allows.

    cd tests && python -m fuzz --seconds 60 --seed 1 [--every] [--target config] [--keep FILE]

An input is right where it is refused by one of the errors of errors.py, or accepted and then equal to what
transformers or safetensors make of it. Anything else is a fault: another exception, an abort, a hang, a wrong
acceptance. Each kind is shown once with its input, for `tests/fuzz/corpus.jsonl`. Exit code 1 where there was one.
"""

from __future__ import annotations

import argparse
import itertools
import json
import operator
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from fuzz.target import Target, TargetOfJson
from fuzz.targets import TARGETS, prepare
from fuzz.watch import Watch, draw

_ENOUGH = 20  # accepted inputs of a target, of which some must have been comparable


def main() -> int:
    """Runs, and returns the exit code."""
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--every", action="store_true", help="no random inputs: each value of edits.py at each place of the JSON files"
    )
    parser.add_argument("--target", action="append", choices=sorted(TARGETS))
    parser.add_argument("--limit", type=float, default=60, metavar="SECONDS", help="of processor time for one input")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="append each kind of fault, as the corpus has it")
    options = parser.parse_args()
    targets = {name: TARGETS[name] for name in options.target or TARGETS}
    if options.every:
        targets = {name: target for name, target in targets.items() if isinstance(target, TargetOfJson)}
        if not targets:
            parser.error("--every with targets whose inputs are no JSON")
    prepare()
    inputs = {name: _inputs(target, options.seed, every=options.every) for name, target in targets.items()}
    watch = Watch(targets, options.limit)
    started = time.monotonic()
    spent = dict.fromkeys(targets, 0.0)
    tried: Counter[str] = Counter()
    accepted: Counter[str] = Counter()
    compared: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    while inputs and time.monotonic() - started < options.seconds:
        name = min(inputs, key=lambda target: spent[target])  # each its share of the time
        begun = time.monotonic()
        given = next(inputs[name], None)
        if given is None:
            del inputs[name]
            continue
        result = watch.try_input(name, given)
        spent[name] += time.monotonic() - begun
        tried[name] += 1
        accepted[name] += result.accepted
        compared[name] += result.compared
        if result.fault:
            kind = f"{name}: {result.kind}"
            faults[kind] += 1
            if faults[kind] == 1:
                line = json.dumps({"target": name, "input": given})
                print(f"-- {kind}\n{result.fault.rstrip()}\n{line[:3000]}", flush=True)
                if options.keep is not None:
                    with options.keep.open("a", encoding="utf-8") as file:
                        file.write(line + "\n")
    watch.close()
    seconds = time.monotonic() - started
    for name, target in targets.items():
        if target.compared_with and accepted[name] >= _ENOUGH and not compared[name]:
            faults[f"{name}: nothing was compared with {target.compared_with}"] += 1
    for kind, count in sorted(faults.items()):
        print(f"{count:6} x {kind}")
    by_target = ", ".join(
        f"{name} {tried[name]} ({accepted[name]} accepted, {compared[name]} comparisons)" for name in targets
    )
    total = sum(tried.values())
    print(f"{'every edit' if options.every else f'seed {options.seed}'}: {by_target}")
    if options.every:
        left = {name: operator.length_hint(waiting) for name, waiting in inputs.items()}
        print(f"not tried for want of time: {', '.join(f'{name} {number}' for name, number in left.items()) or 'none'}")
    print(f"{total} inputs in {seconds:.0f} s, {sum(faults.values())} faults of {len(faults)} kinds")
    return 1 if faults else 0


def _inputs(target: Target, seed: int, *, every: bool) -> Iterator[Any]:
    """In an order that `seed` gives: a run that ends early has tried some of all kinds."""
    if not (every and isinstance(target, TargetOfJson)):
        return (draw(target, f"{seed} {number}") for number in itertools.count())
    inputs = list(target.every())
    random.Random(seed).shuffle(inputs)
    return iter(inputs)


if __name__ == "__main__":
    sys.exit(main())
