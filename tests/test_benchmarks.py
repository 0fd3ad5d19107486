"""What the benchmarks say of machines and peers. The peers themselves run by hand: see benchmarks/README.md."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from gguf import GGUFWriter
from small_checkpoints import write_checkpoint

from mlp_export.checkpoints.checkpoint import Checkpoint, read_checkpoint
from mlp_export.evaluation.evaluate import decode_sequences
from mlp_export.models.eager import decode
from mlp_export.models.numerics import FLOAT
from mlp_export.models.token_sequence import TokenSequence
from mlp_export.models.weights import FloatWeights
from mlp_export.quantization.gguf import gguf_name
from mlp_export.text.tokenizer import Tokenizer

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import compare  # noqa: E402
from evaluation_texts import _plain  # noqa: E402
from gguf_weights import GgufWeights  # noqa: E402
from litert_lm import parse  # noqa: E402
from machine import Machine, parse_cpuinfo  # noqa: E402
from quantization import PeerQuantizer, markdown  # type: ignore[attr-defined]  # noqa: E402  # not tests/quantization
from quantization_chart import write_chart  # noqa: E402
from short_questions import QUESTIONS, ShortQuestion, same_answers, short_questions  # noqa: E402

SVG = "{http://www.w3.org/2000/svg}"

ZEN_3 = Machine("AMD EPYC", "25", "1", 2, ["AVX2"], 1, "Linux x86_64")
CPUINFO = (
    "processor\t: 0\ncpu family\t: 25\nmodel\t\t: 1\nmodel name\t: AMD EPYC\nflags\t\t: fpu avx2\n\nprocessor\t: 1\n"
)
LITERT = "Prefill speed:        516.24 tokens/s\nDecode speed:         49.38 tokens/s\nInit time:            1.0907 s\n"


def test_a_table_names_its_machine_and_what_it_lacks() -> None:
    assert ZEN_3.title() == "AMD EPYC (family 25, model 1), 2 cores, AVX2, no VNNI"
    assert "no VNNI" not in replace(ZEN_3, extensions=["AVX2", "AVX-512 VNNI"]).title()
    fields = parse_cpuinfo(CPUINFO)
    assert (fields["model"], fields["model name"], fields["cpu family"]) == ("1", "AMD EPYC", "25")
    assert Machine.this().cores >= 1


def test_ratios_are_to_llama_cpp() -> None:
    results = compare.Results.read(BENCHMARKS / "results" / "x86-zen1.json")
    lines = compare.table(results).splitlines()
    assert "Zen 1" in lines[0]
    row = next(line for line in lines if line.startswith("| prefill"))
    assert row == "| prefill of 512, tok/s | 22.7 (0.79x) | 28.6 | 22.4 (0.78x) |"
    native = compare.table(replace(results, rows={"load, native, s": {"ours, int8 cache": 1.0}}))
    assert "| load, native, s | 1.00 | - | - |" in native


def test_a_peers_output_is_read_or_refused() -> None:
    assert parse(LITERT) == {"prefill": 516.24, "decode": 49.38, "init": 1.0907}
    with pytest.raises(ValueError, match="Decode speed"):
        parse(LITERT.replace("Decode", "Code"))


def test_measuring_what_is_not_prepared_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(*more: str) -> None:
        monkeypatch.setattr(sys, "argv", ["compare.py", "measure", str(tmp_path), str(tmp_path), *more])
        compare.main()

    with pytest.raises(SystemExit, match="prepare"):
        measure()
    (tmp_path / "prepared.json").write_text('{"exports": {}, "peers": ["llama.cpp"]}')
    with pytest.raises(SystemExit, match=r"prepared for llama\.cpp"):
        measure("--peers", "mnn")


# Quantization


def test_an_articles_text_without_markup() -> None:
    markup = (
        "{{Infobox | name = {{nowrap|A}} }}'''Anarchy''' is a [[state of matter|state]] of [[Society]].<ref>x</ref>\n"
        "[[File:a.png|thumb|A [[link]] in a caption]]\n== History ==\n{| class=x\n|-\n| cell\n|}\n* a list\n"
        "See [http://x.org the site]&amp;more.<!-- hidden -->\n[[Category:States]]"
    )
    assert _plain(markup) == "Anarchy is a state of Society.\n\nHistory\n\nSee the site&more."


def scores(kl: float) -> dict[str, Any]:
    estimate = {"value": kl, "low": kl * 0.9, "high": kl * 1.1}
    return {"perplexity": {**estimate, "value": 20.0}, "kl": estimate, "top1_agreement": {**estimate, "value": 0.75}}


def row(name: str, megabytes: float, kl: float) -> dict[str, Any]:
    return {
        "name": name,
        "weight_bytes": int(megabytes * 1e6),
        "activations": "float",
        "scores": {"wiki": scores(kl), "chat": scores(kl / 2)},
        "same_answers": 8,
    }


def test_the_table_of_quantizations() -> None:
    lines = markdown({"questions": 10, "rows": [row("float", 269, 0.0), row("nearest", 75.6, 0.595)]}).splitlines()
    assert "| 0 | 0 |" in lines[2]
    assert lines[3].startswith("| nearest | 75.6 | float | 20.00 | 20.00 | 0.595 (0.535 to 0.654) | 0.297 (")
    assert lines[3].endswith("| 75.0% | 75.0% | 8 of 10 |")


def test_a_chart_has_every_row_once_a_panel_and_no_label_over_another(tmp_path: Path) -> None:
    rows = [row("float", 269, 0.0), *(row(f"row number {n}", 75.6, 0.3 + n / 100) for n in range(6))]
    write_chart([*rows, row("llama.cpp Q4_0 <pure>", 75.6, 0.31)], tmp_path / "chart.svg")
    svg = ElementTree.parse(tmp_path / "chart.svg")
    texts = [(e.text, float(e.get("x", 0)), float(e.get("y", 0))) for e in svg.iter(f"{SVG}text")]
    labels = [text for text in texts if text[0] and text[0].startswith(("row", "Q4_0"))]
    assert len(labels) == 14 and "float" not in {text for text, _, _ in texts}
    for panel in (labels[:7], labels[7:]):
        for number, (_, x, y) in enumerate(panel):
            assert all(abs(y - other_y) >= 12 or abs(x - other_x) > 50 for _, other_x, other_y in panel[number + 1 :])
    assert len(list(svg.iter(f"{SVG}circle"))) == 2 * (6 + 1)  # and one in each legend
    assert "prefers-color-scheme: dark" in (tmp_path / "chart.svg").read_text()


def test_degridded_weights_are_the_same_function(tmp_path: Path) -> None:
    """Factors go into columns and come back in norms and rows; and they do change the weights."""
    checkpoint = read_checkpoint(
        write_checkpoint(tmp_path / "model", "llama", dtype=torch.bfloat16, tie_word_embeddings=True)
    )
    peers = PeerQuantizer(tmp_path, tmp_path, checkpoint.config.head_dim, lambda: "")
    write_float_gguf(checkpoint, tmp_path / "float32.gguf")
    changed = GgufWeights(peers.file("degridded"), checkpoint.config)
    same = GgufWeights(tmp_path / "float32.gguf", checkpoint.config)
    text = [TokenSequence(list(range(40)), range(40))]
    (expected,), (found,) = (decode(weights, text, FLOAT) for weights in (FloatWeights(checkpoint), changed))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(decode(same, text, FLOAT)[0], expected)
    for part in ("q", "o", "gate", "up", "down", "v"):
        name = f"layers.3.{part}"
        assert (changed.matrix(name) / same.matrix(name)).std() > 0.05
    assert changed.matrix_bytes == same.matrix_bytes > 0


def write_float_gguf(checkpoint: Checkpoint, file: Path) -> None:
    writer = GGUFWriter(file, "llama")
    for name in checkpoint.names():
        if name != "head":
            writer.add_tensor(gguf_name(name), checkpoint.tensor(name).float().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_same_answers_are_greedy_ones() -> None:
    """Of a model that says n + 1 after n: prompts 1 2, answers 3 4 and 3 9."""

    class Successor:
        vocab_size = 16

        def __init__(self, sequences: Sequence[Sequence[int]]) -> None:
            self.sequences = sequences

        def logits(self, sequence: int, rows: range) -> torch.Tensor:
            following = [self.sequences[sequence][row] + 1 for row in rows]
            return torch.nn.functional.one_hot(torch.tensor(following), 16).float()

    questions = [ShortQuestion("", [1, 2], answer) for answer in ([3, 4], [3, 9], [4, 5])]
    questions.append(ShortQuestion("", [7, 2], [3, 4]))  # what the prompt says is not the model's to say
    assert same_answers(questions, Successor) == [True, False, False, True]


def test_the_recorded_answers_are_the_float_models(demo_checkpoint: Path) -> None:
    """And one with a token of it changed is not."""
    questions = short_questions(demo_checkpoint)
    tokenizer = Tokenizer.from_folder(demo_checkpoint)
    recorded = json.loads(QUESTIONS.read_text(encoding="utf-8"))["questions"]
    assert len(questions) == 10
    for question, entry in zip(questions, recorded, strict=True):
        assert tokenizer.decode(question.answer) == entry["answer"]
        assert question.answer[-1] == 2  # the end of a turn
    changed = replace(questions[0], answer=[questions[0].answer[1], *questions[0].answer[1:]])
    weights = FloatWeights(read_checkpoint(demo_checkpoint))
    found = same_answers([*questions, changed], lambda sequences: decode_sequences(weights, FLOAT, sequences))
    assert found == [True] * 10 + [False]
