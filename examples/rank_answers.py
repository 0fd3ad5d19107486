"""Ranks endings of a text by what a bundle's model thinks of them: rank_answers.py BUNDLE TEXT ENDING ENDING ...

A bundle as part of your own script: tokens in, logits out, the cache of the text kept for each ending.
"""

import sys

import torch

import mlp_export


def rank(model: mlp_export.LoadedModel, text: str, endings: list[str]) -> list[tuple[str, float]]:
    """The endings with their log-probability a token, the likeliest first."""
    prompt = model.tokenizer.encode(text, bos=model.tokenizer.adds_bos, special=False)
    for start in range(0, len(prompt), model.prefill_chunk):
        after_prompt = model.forward(prompt[start : start + model.prefill_chunk], start)
    scores = []
    for ending in endings:
        logits, total = after_prompt, 0.0
        tokens = model.tokenizer.encode(ending, bos=False, special=False)
        for position, token in enumerate(tokens, len(prompt)):
            total += float(torch.log_softmax(logits, -1)[token])
            logits = model.forward([token], position)  # overwrites what the ending before left there
        scores.append((ending, total / len(tokens)))
    return sorted(scores, key=lambda score: -score[1])


def main(bundle: str, text: str, *endings: str) -> None:
    for ending, score in rank(mlp_export.load(bundle), text, list(endings)):
        print(f"{score:8.3f}  {text}{ending}")


if __name__ == "__main__":
    main(*sys.argv[1:])
