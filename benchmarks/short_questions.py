"""Ten short questions to SmolLM2-135M-Instruct: does a quantized model give the float model's very answer?

    python benchmarks/short_questions.py BUNDLE|CHECKPOINT

The questions and the float model's greedy answers are in tests/data/short_questions.json. They were chosen among some
hundred by the float model alone: its answer makes sense and ends within 32 tokens, and no token of it was a toss-up
(see `least_margin` there: by how much the logit of the likeliest token exceeds the second's, in the closest case). That
leaves short ones: nearly every longer answer of this model has a toss-up. None is in the calibration text that ships.

A greedy answer is the float model's exactly where, behind the prompt and each beginning of that answer, the likeliest
token is its next one. So one pass over prompt and answer decides it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from mlp_export.backends.base import open_session
from mlp_export.bundle.bundle import Bundle
from mlp_export.checkpoints.packaged import SMOLLM2, checkpoint_folder
from mlp_export.checkpoints.resolve import resolve
from mlp_export.evaluation.evaluate import ArtifactPredictor, Predictor, is_checkpoint, open_checkpoint
from mlp_export.text.chat import Message, read_chat_template
from mlp_export.text.tokenizer import Tokenizer

QUESTIONS = Path(__file__).resolve().parents[1] / "tests" / "data" / "short_questions.json"


@dataclass(frozen=True)
class ShortQuestion:
    """A question, and the ids of the chat's prompt and of the float model's answer, its end included if it ended."""

    question: str
    prompt: list[int]
    answer: list[int]


def short_questions(folder: Path, file: Path = QUESTIONS) -> list[ShortQuestion]:
    """The questions in the chat template of the demo's checkpoint `folder`."""
    tokenizer, template = Tokenizer.from_folder(folder), read_chat_template(folder)
    assert template is not None
    return [
        ShortQuestion(
            entry["question"],
            tokenizer.encode(template.render([Message("user", entry["question"])]), bos=False, special=True),
            entry["answer_ids"],
        )
        for entry in json.loads(file.read_text(encoding="utf-8"))["questions"]
    ]


def same_answers(
    questions: Sequence[ShortQuestion], predictor: Callable[[Sequence[Sequence[int]]], Predictor]
) -> list[bool]:
    """Of each question, whether the model's greedy answer is the float model's."""
    sequences = [question.prompt + question.answer for question in questions]
    opened = predictor(sequences)
    found = []
    for number, question in enumerate(questions):
        likeliest = opened.logits(number, range(len(sequences[number]) - 1)).argmax(-1)
        found.append(torch.equal(likeliest[len(question.prompt) - 1 :], torch.tensor(question.answer)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Counts the short questions that are answered as by the float model.")
    parser.add_argument("model", metavar="BUNDLE|CHECKPOINT")
    name = parser.parse_args().model
    questions = short_questions(checkpoint_folder(SMOLLM2, print))
    if is_checkpoint(name):
        with open_checkpoint(resolve(name)) as model:
            found = same_answers(questions, lambda sequences: model.predictor(sequences, lambda: None))
    else:
        session = open_session(Bundle.open(Path(name)))
        found = same_answers(questions, lambda sequences: ArtifactPredictor(session, sequences))
    for question, same in zip(questions, found, strict=True):
        print("same " if same else "other", question.question)
    print(f"{sum(found)} of {len(found)} answers are the float model's")


if __name__ == "__main__":
    main()
