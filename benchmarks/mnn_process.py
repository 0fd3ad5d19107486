"""What mnn_llm.py runs in MNN's environment: speeds of one model as a line of JSON.

python mnn_process.py CONFIG THREADS first
python mnn_process.py CONFIG THREADS speed PROMPT_TOKENS NEW_TOKENS REPETITIONS DEPTH...
"""

from __future__ import annotations

import json
import random
import sys
import time

import MNN.llm

_STEP = 512  # tokens of a call on the way to a depth


def main(config: str, threads: str, what: str, *counts: str) -> dict[str, list[float]]:
    start = time.perf_counter()
    model = MNN.llm.create(config)
    model.set_config({"thread_num": int(threads)})
    model.load()
    load_s = time.perf_counter() - start

    def timed(tokens: list[int]) -> float:
        start = time.perf_counter()
        model.forward(tokens).read()
        return time.perf_counter() - start

    random.seed(0)
    ids = [random.randrange(200_000) for _ in range(4096)]
    if what == "first":
        return {"load_s": [load_s], "first_s": [timed(ids[:1])]}
    prompt, new, repetitions, *depths = map(int, counts)
    timed(ids[:prompt])
    found: dict[str, list[float]] = {"prefill": []}
    for _ in range(repetitions):
        model.reset()
        found["prefill"].append(prompt / timed(ids[:prompt]))
    position = prompt
    for depth in depths:
        while position < depth:
            count = min(_STEP, depth - position)
            timed(ids[position : position + count])
            position += count
        timed(ids[position : position + 1])
        rates = []
        for n in range(repetitions):
            steps = ids[position + 1 + n * new :][:new]
            rates.append(new / sum(timed([token]) for token in steps))
        position += 1 + repetitions * new
        found[f"decode {depth}"] = rates
    return found


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
