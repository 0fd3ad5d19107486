"""`eval`, the export's quantization error, and the scores and intervals that both are made of."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from artifacts import CPU_NAME, export_model, quantized, small_model
from fake_backend import TOKENIZER, FakeSession, ids_of, successors, write_bundle
from safetensors.torch import load_file, save_file
from small_checkpoints import BOS_ID, write_checkpoint
from typer.testing import CliRunner

from mlp_export.bundle.bundle import Bundle
from mlp_export.checkpoints.checkpoint import read_checkpoint
from mlp_export.checkpoints.resolve import resolve
from mlp_export.cli.app import app
from mlp_export.errors import InputError, UsageError, VerificationError
from mlp_export.evaluation.evaluate import (
    decode_sequences,
    evaluate,
    evaluate_checkpoint,
    is_checkpoint,
    measure_quantization_error,
    open_checkpoint,
    score,
    text_sequences,
)
from mlp_export.evaluation.token_scores import (
    mean_divergence,
    mean_estimate,
    perplexity,
    score_rows,
    share_estimate,
    t_quantile,
)
from mlp_export.models.eager import decode
from mlp_export.models.numerics import FLOAT, DynamicNumerics
from mlp_export.models.token_sequence import TokenSequence
from mlp_export.models.weights import FloatWeights
from mlp_export.progress import Progress
from mlp_export.quantization.compressed_tensors import write_checkpoint as write_quantized
from mlp_export.quantization.scheme import INT8, Scheme, group_scheme
from mlp_export.text.shipped import shipped_text
from mlp_export.text.tokenizer import Tokenizer

QUIET = Progress()


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_bundle(tmp_path / "my bundle")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Of the random model that `write_checkpoint` makes by default."""
    folder = tmp_path_factory.mktemp("exported")
    return export_model(small_model(folder), folder / "bundle")


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


# Scores and intervals


def test_scores_by_hand() -> None:
    """Two tokens: the reference says 3/4 and 1/4, the model 1/2 each."""
    reference, model = torch.tensor([[3.0, 1.0]]).log(), torch.tensor([[5.0, 5.0]])
    loss, reference_loss, kl, agrees = score_rows(model, torch.tensor([1]), reference)
    assert float(loss) == pytest.approx(math.log(2))
    assert float(reference_loss) == pytest.approx(math.log(4))
    assert float(kl) == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5), rel=1e-6)  # not the reverse KL
    assert float(agrees) == 1.0  # of equal logits the first
    assert float(score_rows(model.flip(0) * torch.tensor([[1.0, 2.0]]), torch.tensor([1]), reference)[3]) == 0.0
    assert float(score_rows(reference, torch.tensor([1]), reference)[2]) == 0.0


def test_students_t() -> None:
    """Against a table of quantiles."""
    for freedom, expected in ((3, 3.1824), (4, 2.7764), (7, 2.3646), (15, 2.1314), (30, 2.0423), (1000, 1.9623)):
        assert t_quantile(freedom) == pytest.approx(expected, rel=2e-3)


def correlated(sequences: int, tokens: int, generator: torch.Generator) -> list[torch.Tensor]:
    """Positive numbers like a KL's, mean 1, each kept from the token before it in 9 of 10 cases."""
    found = []
    for _ in range(sequences):
        fresh = torch.empty(tokens, dtype=torch.float64).exponential_(generator=generator)
        starts = torch.rand(tokens, generator=generator) < 0.1
        starts[0] = True
        found.append(fresh[torch.where(starts)[0][starts.cumsum(0) - 1]])
    return found


def coverage(estimate: Any, draws: int = 400) -> float:
    """How often an interval holds the mean that the numbers were drawn with."""
    generator = torch.Generator().manual_seed(7)
    intervals = [estimate(correlated(4, 512, generator)) for _ in range(draws)]
    return sum(interval.low <= 1.0 <= interval.high for interval in intervals) / draws


def test_intervals_hold_what_they_say_where_tokens_hang_together() -> None:
    assert 0.90 < coverage(mean_estimate) < 0.98

    def of_single_tokens(values: list[torch.Tensor]) -> Any:
        """The negative control: tokens taken as independent, each a sequence of its own."""
        return mean_estimate([token for sequence in values for token in sequence.split(1)])

    assert coverage(of_single_tokens, 100) < 0.7


def test_intervals_of_shares() -> None:
    generator = torch.Generator().manual_seed(3)
    held = 0
    for _ in range(400):
        ones = [(values > 1.0).double() for values in correlated(4, 512, generator)]
        found: Any = share_estimate(ones)
        held += found.low <= math.exp(-1.0) <= found.high  # the share of an exponential above its mean
    assert 0.90 < held / 400 < 0.98
    all_agree: Any = share_estimate([torch.ones(512, dtype=torch.float64)])
    assert (all_agree.value, all_agree.high) == (1.0, pytest.approx(1.0))
    assert all_agree.low == pytest.approx(512 / (512 + t_quantile(7) ** 2))  # Wilson's, not 1


def test_intervals_of_perplexity_and_kl() -> None:
    losses = [torch.full((256,), 2.0, dtype=torch.float64), torch.full((256,), 3.0, dtype=torch.float64)]
    found = perplexity(losses)
    mean = mean_estimate(losses)
    assert found.value == pytest.approx(math.exp(2.5))
    assert (found.low, found.high) == (pytest.approx(math.exp(mean.low)), pytest.approx(math.exp(mean.high)))  # type: ignore[arg-type]
    # Eight blocks, half of them 0.5 above the mean and half below: s = 0.5 sqrt(8 / 7).
    assert mean.high - mean.value == pytest.approx(t_quantile(7) * 0.5 * (8 / 7) ** 0.5 / 8**0.5)  # type: ignore[operator]
    spread = [torch.zeros(448, dtype=torch.float64), torch.ones(64, dtype=torch.float64)]
    assert mean_estimate(spread).low < 0 == mean_divergence(spread).low  # type: ignore[operator]


def test_many_sequences_are_the_blocks_themselves() -> None:
    """A sequence's mean is its own: blocks within it would be as one observation taken eight times."""
    values = [torch.full((512,), float(n % 2), dtype=torch.float64) for n in range(20)]
    found = mean_estimate(values)
    assert found.high - found.value == pytest.approx(t_quantile(19) * 0.5 * (20 / 19) ** 0.5 / 20**0.5)  # type: ignore[operator]


def test_a_text_too_short_for_an_interval() -> None:
    found = mean_estimate([torch.tensor([1.0, 2.0], dtype=torch.float64)])
    assert (found.value, found.low, found.high, found.text()) == (1.5, None, None, "1.50")


# Text


def test_sequences_are_taken_from_texts_in_turn() -> None:
    a, b = ids_of("a"), ids_of("b")
    assert text_sequences(TOKENIZER, ["a" * 5, "b" * 3], True, 3, 100) == [
        [BOS_ID, *a, *a],
        [BOS_ID, *b, *b],
        [BOS_ID, *a, *a],
        [BOS_ID, *b],
        [BOS_ID, *a],
    ]
    assert text_sequences(TOKENIZER, ["a" * 5, "b" * 3], True, 3, 7) == [[BOS_ID, *a, *a], [BOS_ID, *b, *b]]
    assert text_sequences(TOKENIZER, ["a" * 5], False, 2, 4) == [[*a, *a], [*a, *a]]  # a last one of one token is none


# eval of a bundle


def test_perplexity_by_hand(bundle: Bundle, tmp_path: Path) -> None:
    """Tokens: BOS, Hello, " world". After BOS all 320 are as likely, after Hello " world" is e^10 to 319."""
    session = FakeSession(successors("Hello world"))
    text = write(tmp_path / "t", "Hello world")
    report = evaluate(bundle, QUIET, texts=[text], session=session)
    likely = math.e**10 / (math.e**10 + 319)
    assert report.tokens == 2
    assert report.perplexity.value == pytest.approx((320 * (1 / likely)) ** 0.5, rel=1e-5)
    assert session.fed == [BOS_ID, ids_of("Hello")[0]]  # the last token has nothing to predict
    compared = ("against", "against_kind", "against_perplexity", "kl", "top1_agreement")
    unknown = [*(f"{name}{end}" for name in compared[2:] for end in ("", "_low", "_high")), *compared[:2]]
    assert report.to_json() == {
        "text": str(text),
        "evaluated": "artifact",
        "sequences": 1,
        "tokens": 2,
        "perplexity": report.perplexity.value,
        "perplexity_low": None,
        "perplexity_high": None,
        **dict.fromkeys(unknown),
    }


def test_perplexity_of_a_model_that_expects_something_else(bundle: Bundle, tmp_path: Path) -> None:
    session = FakeSession({BOS_ID: ids_of("A")[0]})
    report = evaluate(bundle, QUIET, texts=[write(tmp_path / "t", "B")], session=session)
    assert report.perplexity.value == pytest.approx(math.e**10 + 319, rel=1e-5)


def test_a_text_longer_than_asked_for_or_than_the_context(bundle: Bundle, tmp_path: Path) -> None:
    text = write(tmp_path / "t", "x" * 100)  # 100 tokens, BOS before each 63
    for max_tokens, predicted in ((10, [9]), (2, [1]), (64, [63]), (65, [63]), (66, [63, 1]), (1024, [63, 37])):
        session = FakeSession({})
        report = evaluate(bundle, QUIET, texts=[text], max_tokens=max_tokens, session=session)
        assert (report.tokens, report.sequences) == (sum(predicted), len(predicted))
        assert session.calls == [(1, position) for tokens in predicted for position in range(tokens)]
        assert report.perplexity.value == pytest.approx(320, rel=1e-5)
    session = FakeSession({})
    assert evaluate(bundle, QUIET, texts=[text], sequence_length=11, session=session).sequences == 10
    assert max(position for _, position in session.calls) == 9


def test_special_tokens_in_a_text_are_text(bundle: Bundle, tmp_path: Path) -> None:
    session = FakeSession({})
    evaluate(bundle, QUIET, texts=[write(tmp_path / "t", "a<|eot|>b")], session=session)
    assert session.fed == [BOS_ID, *ids_of("a"), *ids_of("<|"), *ids_of("eot"), *ids_of("|>")]


def test_a_bundle_without_bos(tmp_path: Path) -> None:
    values = json.loads((write_bundle(tmp_path / "b").path / "manifest.json").read_text())
    values["tokenizer"]["add_bos"] = False
    write(tmp_path / "b" / "manifest.json", json.dumps(values))
    session = FakeSession({})
    evaluate(Bundle.open(tmp_path / "b"), QUIET, texts=[write(tmp_path / "t", "AB")], session=session)
    assert session.fed == ids_of("A")


def test_the_text_that_ships(bundle: Bundle) -> None:
    report = evaluate(bundle, QUIET, max_tokens=16, session=FakeSession({}))
    assert (report.to_json()["text"], report.tokens) == ("", 15)
    assert len(shipped_text().split()) > 300


def test_texts_that_cannot_be_measured(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "latin1").write_bytes("Gr\xfc\xdfe".encode("latin-1"))
    good = write(tmp_path / "good", "some text")
    for path, said in (
        (tmp_path / "none", "No such file"),
        (tmp_path, "cannot read"),
        (tmp_path / "latin1", r"not UTF-8 text \(byte 2\)"),
        (write(tmp_path / "empty", ""), "has 1 tokens, expected 2 or more"),
    ):
        for texts in ([path], [good, path]):
            with pytest.raises(InputError, match=said):
                evaluate(bundle, QUIET, texts=texts, session=FakeSession({}))
    with pytest.raises(UsageError, match="perplexity over 1 tokens"):
        evaluate(bundle, QUIET, max_tokens=1, session=FakeSession({}))
    for length in (1, 65):
        with pytest.raises(UsageError, match=f"sequences of {length} tokens"):
            evaluate(bundle, QUIET, sequence_length=length, session=FakeSession({}))


def test_a_program_that_answers_nan_has_no_perplexity(bundle: Bundle) -> None:
    class NanSession(FakeSession):
        def forward(self, tokens: Sequence[int], position: int) -> torch.Tensor:
            return super().forward(tokens, position) * math.nan

    with pytest.raises(VerificationError, match="NaN"):
        evaluate(bundle, QUIET, session=NanSession({}))


# Against a checkpoint


def test_a_bundle_against_the_checkpoint_it_came_from(exported: Bundle, tmp_path: Path) -> None:
    """KL and agreement of the finished program are those of the decoder with its numerics, up to rounding's noise, and
    those of whole tensors, by torch's own KL.
    """
    model = small_model(tmp_path)
    text = write(tmp_path / "t", shipped_text()[:150])
    with open_checkpoint(resolve(str(write_checkpoint(tmp_path / "model")))) as reference:
        report = evaluate(exported, QUIET, texts=[text], against=reference)
    assert (report.against, report.against_kind, report.sequences) == ("model", "float", 2)
    sequences = text_sequences(exported.tokenizer(), [text.read_text()], True, 64, 1024)
    whole = [TokenSequence(ids, range(len(ids) - 1)) for ids in sequences]
    exact = torch.cat(decode(FloatWeights(model.checkpoint), whole, FLOAT)).log_softmax(-1)
    rounded = torch.cat(decode(model, whole, DynamicNumerics("int8", "int8"))).log_softmax(-1)
    kl = torch.nn.functional.kl_div(rounded, exact, log_target=True, reduction="batchmean")
    assert report.kl is not None and report.top1_agreement is not None
    assert report.kl.value == pytest.approx(float(kl), rel=0.05) and kl > 0.01
    assert report.top1_agreement.value == pytest.approx(
        float((rounded.argmax(-1) == exact.argmax(-1)).double().mean()), abs=0.03
    )
    assert report.against_perplexity is not None
    targets = torch.tensor([token for ids in sequences for token in ids[1:]])
    assert report.against_perplexity.value == pytest.approx(
        float(torch.nn.functional.nll_loss(exact, targets).exp()), rel=1e-5
    )


def test_a_checkpoint_before_export(tmp_path: Path) -> None:
    """A float one is at no distance from itself; a quantized one is computed as its program would."""
    folder = write_checkpoint(tmp_path / "model")
    text = write(tmp_path / "t", shipped_text()[:300])
    with open_checkpoint(resolve(str(folder))) as model:
        report = evaluate_checkpoint(model, QUIET, texts=[text], against=model)
    assert report.kl is not None and report.top1_agreement is not None and report.evaluated == "float"
    assert (report.kl.value, report.kl.high, report.top1_agreement.value) == (0.0, 0.0, 1.0)
    trained = write_checkpoint(tmp_path / CPU_NAME, kind="int4-cpu")
    with open_checkpoint(resolve(str(trained))) as quantized_one, open_checkpoint(resolve(str(folder))) as float_one:
        forward = evaluate_checkpoint(quantized_one, QUIET, texts=[text], against=float_one)
        backward = evaluate_checkpoint(float_one, QUIET, texts=[text], against=quantized_one)
    assert forward.evaluated == backward.against_kind == "int4-g32, int8 activations and cache"
    assert forward.kl is not None and backward.kl is not None
    assert forward.kl.value > 0.01 and forward.kl.value != backward.kl.value
    assert forward.against_perplexity == backward.perplexity == report.perplexity
    tokenizer = Tokenizer.from_folder(folder)
    sequences = text_sequences(tokenizer, [text.read_text()], True, 2048, 1024)
    eager = quantized(
        read_checkpoint(trained, "int4-cpu"), group_scheme("int4-cpu", read_checkpoint(trained).config, None)
    )
    alone = score(decode_sequences(eager, DynamicNumerics("int8", "int8"), sequences), sequences)
    assert perplexity(alone.loss) == forward.perplexity and alone.comparison is None


@pytest.mark.parametrize(
    ("scheme", "numerics", "said"),
    [
        (Scheme(4, 32), DynamicNumerics("int8", "int8"), "int4-g32, int8 activations and cache"),
        (
            Scheme(4, None, exceptions={"down": INT8, "v": INT8, "embed": INT8, "head": INT8}),
            FLOAT,
            "int4-per-channel, float activations",
        ),
    ],
)
def test_a_quantized_checkpoints_folder(tmp_path: Path, scheme: Scheme, numerics: DynamicNumerics, said: str) -> None:
    """Its codes are those that were written, whatever mix of formats."""
    checkpoint = read_checkpoint(write_checkpoint(tmp_path / "model"))
    model = quantized(checkpoint, scheme)
    write_quantized(model, tmp_path / "quantized", {"quantizer": "nearest"})
    with (
        open_checkpoint(resolve(str(tmp_path / "quantized"))) as opened,
        open_checkpoint(resolve(str(tmp_path / "model"))) as reference,
    ):
        report = evaluate_checkpoint(opened, QUIET, max_tokens=100, against=reference)
    sequences = text_sequences(opened.tokenizer, [shipped_text()], True, 2048, 100)
    exact = decode_sequences(FloatWeights(checkpoint), FLOAT, sequences)
    expected = score(decode_sequences(model, numerics, sequences), sequences, exact)
    assert report.evaluated == said and report.kl is not None and expected.comparison is not None
    assert report.kl == mean_divergence(expected.comparison.kl)


def test_blocks_of_rows_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = FloatWeights(read_checkpoint(write_checkpoint(tmp_path / "model")))
    sequences = [list(range(40)), list(range(90, 100))]
    predictor = decode_sequences(weights, FLOAT, sequences)
    other = decode_sequences(weights, DynamicNumerics("int8", "fp32"), sequences)
    advanced: list[int] = []
    at_once = score(predictor, sequences, other)
    monkeypatch.setattr("mlp_export.evaluation.evaluate._LOGITS_BYTES", 7 * 320 * 4)
    in_blocks = score(predictor, sequences, other, advanced.append)
    assert advanced == [7, 7, 7, 7, 7, 4, 7, 2]
    assert at_once.comparison is not None and in_blocks.comparison is not None
    for one, two in (
        (at_once.loss, in_blocks.loss),
        (at_once.comparison.kl, in_blocks.comparison.kl),
        (at_once.comparison.agrees, in_blocks.comparison.agrees),
    ):
        assert [len(rows) for rows in two] == [39, 9]
        torch.testing.assert_close(torch.cat(list(one)), torch.cat(list(two)), rtol=1e-4, atol=1e-7)


def other_tokenizer(folder: Path) -> None:
    """Two tokens of one vocabulary swapped."""
    values = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = values["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    (folder / "tokenizer.json").write_text(json.dumps(values))


def other_merges(folder: Path) -> None:
    """The same tokens, of which text is made otherwise."""
    values = json.loads((folder / "tokenizer.json").read_text())
    values["model"]["merges"] = values["model"]["merges"][1:]
    values["model"]["ignore_merges"] = False
    (folder / "tokenizer.json").write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("changes", "damage", "said"),
    [
        ({"num_hidden_layers": 4}, None, "local_layers is .* num_layers is 5 and 4"),
        # With a stop id in its last row: rows that nothing names are left out of both.
        ({"vocab_size": 352, "eos_token_id": [301, 351]}, None, "vocab_size is 320 and 352"),
        ({"rope_theta": 10000.0}, None, "rope_theta is 500000.0 and 10000.0"),
        ({}, other_tokenizer, "token 64 is 'a' and 'b'"),
        ({}, other_merges, "other tokens"),
    ],
)
def test_another_models_checkpoint(
    exported: Bundle, tmp_path: Path, changes: dict[str, Any], damage: Any, said: str
) -> None:
    model = resolve(str(write_checkpoint(tmp_path / "model")))
    other = write_checkpoint(tmp_path / "other", **changes)
    if damage is not None:
        damage(other)
    with open_checkpoint(model) as one, open_checkpoint(resolve(str(other))) as two:
        with pytest.raises(InputError, match="model and other are not the same model: .*" + said) as caught:
            evaluate_checkpoint(one, QUIET, against=two)
        assert caught.value.hint
        with pytest.raises(InputError, match=said):
            evaluate(exported, QUIET, against=two)


def test_a_head_of_its_own_and_other_stop_ids_are_no_other_model(tmp_path: Path) -> None:
    """As a quantized checkpoint has that was made of a tied one, and a chat model's config."""
    one = resolve(str(write_checkpoint(tmp_path / "model")))
    two = resolve(str(write_checkpoint(tmp_path / "other", tied=False, eos_token_id=301)))
    with open_checkpoint(one) as model, open_checkpoint(two) as reference:
        report = evaluate_checkpoint(model, QUIET, max_tokens=8, against=reference)
    assert report.kl is not None


def test_names_of_bundles_and_checkpoints(bundle: Bundle, tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "model")
    assert is_checkpoint(str(folder)) and is_checkpoint("demo") and is_checkpoint("owner/name@main")
    for name in (str(bundle.path), str(bundle.pte), str(tmp_path / "none"), "./none", "tests/none"):
        assert not is_checkpoint(name)


# The export's own


def test_quantization_error_is_that_of_eval(tmp_path: Path) -> None:
    """The export's numbers and eval's of the same weights on the same text."""
    model = small_model(tmp_path)
    tokenizer = Tokenizer.from_folder(model.checkpoint.path)
    float_folder = write_checkpoint(tmp_path / "model")
    source = read_checkpoint(float_folder)
    error = measure_quantization_error(model, source, tokenizer, DynamicNumerics("int8", "int8"), QUIET)
    with (
        open_checkpoint(resolve(str(model.checkpoint.path))) as one,
        open_checkpoint(resolve(str(float_folder))) as reference,
    ):
        report = evaluate_checkpoint(one, QUIET, max_tokens=512, sequence_length=512, against=reference)
    assert error.tokens == report.tokens == 511
    assert (error.kl, error.top1_agreement) == (report.kl, report.top1_agreement)
    assert (error.quantized_perplexity, error.float_perplexity) == (report.perplexity, report.against_perplexity)
    assert error.kl.low is not None and 0 < error.kl.low < error.kl.value
    assert f"KL to float {error.kl.text(2)}" in error.summary()


# The command


@pytest.mark.parametrize(
    ("key", "factor", "said"),
    [
        ("model.norm.weight", 1e38, "the model answers NaN or infinity"),
        ("model.layers.0.feed_forward.down_proj.weight", 1e38, "the model answers NaN or infinity"),
        ("lm_head.weight", 1e20, "nats a token, beyond a perplexity"),
        ("lm_head.weight", 1.0, None),
    ],
)
def test_a_model_beyond_the_range_of_numbers(key: str, factor: float, said: str | None, tmp_path: Path) -> None:
    """Its weights are finite: what it computes is not."""
    folder = write_checkpoint(tmp_path / "model", tied=False)
    tensors = load_file(folder / "model.safetensors")
    tensors[key] = tensors[key] * factor
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    source, tokenizer = read_checkpoint(folder), Tokenizer.from_folder(folder)
    assert all(bool(tensor.isfinite().all()) for tensor in tensors.values())
    model = quantized(source, group_scheme(source.kind, source.config, None))

    def measure() -> object:
        return measure_quantization_error(model, source, tokenizer, DynamicNumerics("int8", "int8"), QUIET)

    def evaluate_it() -> object:
        with open_checkpoint(resolve(str(folder))) as opened:
            return evaluate_checkpoint(opened, QUIET, max_tokens=64)

    for call in (measure, evaluate_it):
        if said is None:
            call()
            continue
        with pytest.raises(InputError, match=said):
            call()


def test_the_command_takes_checkpoints_and_says_what_it_compares_with(tmp_path: Path) -> None:
    folder, trained = write_checkpoint(tmp_path / "model"), write_checkpoint(tmp_path / CPU_NAME, kind="int4-cpu")
    text = write(tmp_path / "t", shipped_text()[:400])

    def run(*arguments: Any) -> Any:
        return CliRunner().invoke(app, ["eval", *map(str, arguments)], prog_name="mlp-export")

    done = run(trained, "--against", folder, "--text", text, "--text", text, "--json")
    values = json.loads(done.stdout)
    assert (done.exit_code, done.stderr) == (0, "")
    assert values["text"] == f"{text}, {text}" and values["sequences"] == 2 and values["against_kind"] == "float"
    assert 0 < values["kl_low"] < values["kl"] < values["kl_high"]
    assert values["top1_agreement_low"] < values["top1_agreement"] < values["top1_agreement_high"]
    done = run(folder, "--against", trained, "--text", text)
    assert "note: model-int4-cpu is quantized itself (int4-g32" in done.stderr
    assert "KL to it, nats" in done.stdout and "decode: " in done.stderr
    other = write_checkpoint(tmp_path / "other", num_hidden_layers=4)
    done = run(folder, "--against", other, "--json")
    assert (done.exit_code, "num_layers is 5 and 4" in json.loads(done.stdout)["error"]) == (3, True)
    done = run(tmp_path / "none", "--json")
    assert (done.exit_code, "expected the folder of a bundle" in json.loads(done.stdout)["error"]) == (3, True)
