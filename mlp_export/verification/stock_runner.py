"""The bundle's files through ExecuTorch's own text runner: the ids of its tokenizer, and its greedy text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlp_export.bundle.bundle import Bundle
from mlp_export.runtime.generate import generate
from mlp_export.runtime.host_runtime import HostRuntime, VerificationBudget
from mlp_export.runtime.session import Session
from mlp_export.runtime.stock_runner import PartialCharacterError, generate_with_stock_runner
from mlp_export.text.chat import Message
from mlp_export.text.runner_tokenizer import compare
from mlp_export.text.tokenizer import Tokenizer
from mlp_export.verification.report import Check

_QUESTION = "What is the capital of France?"
_SENTENCE = "The river rises in the hills to the north and is joined by two streams before it comes to the town. "


@dataclass(frozen=True)
class Prompt:
    """A text that both are given."""

    text: str
    bos: bool  # whether the tokenizer puts BOS before it
    ids: list[int]
    most_new_tokens: int

    def new_tokens(self, context: int) -> int:
        """Tokens of the answer to compare: the runner may not answer from the last slot."""
        return min(self.most_new_tokens, context - len(self.ids))


def check_tokenizer(bundle: Bundle, prompts: Sequence[Prompt]) -> Check:
    """Whether the stock runner's tokenizer, on the bundle's file, gives the ids of the reference."""
    compared = (
        "ids of texts of many scripts, and the text of each token and of such texts, by the stock runner's tokenizer "
        "and by Hugging Face's, on tokenizer.json"
    )
    tokenizer = bundle.tokenizer()
    asked = [(prompt.text, prompt.bos) for prompt in prompts]
    found = compare(tokenizer, tokenizer, asked, bundle.path / "tokenizer.json")
    equal = f"the runner's ids for {found.texts:,} texts are the reference's, and so is the text of each token"
    if found.unencodable:
        equal += f"; but for texts with {found.unencodable_names()}, which the vocabulary cannot spell"
    return Check("tokenizer", found.difference is None, found.difference or equal, "equal", compared)


def prompts_for(bundle: Bundle, tokenizer: Tokenizer, budget: VerificationBudget) -> list[Prompt]:
    """More than a chunk, a chat where the model has one, a word, a question."""
    manifest = bundle.manifest

    def prompt(text: str, bos: bool) -> Prompt:
        return Prompt(text, bos, tokenizer.encode(text, bos=bos, special=True), budget.answer_tokens)

    one, two = (prompt(times * _SENTENCE, manifest.tokenizer.add_bos) for times in (1, 2))
    each = max(1, len(two.ids) - len(one.ids))  # what a sentence has behind another; 0 in a file that is damaged
    long = prompt((1 + manifest.prefill_chunk // each) * _SENTENCE, one.bos)
    prompts = [long]
    if manifest.chat:
        prompts.append(prompt(manifest.chat.compose([Message("user", _QUESTION)]), False))
    prompts += [prompt("The", long.bos), prompt(_QUESTION, long.bos)]
    return prompts


def own_answers(bundle: Bundle, session: Session, prompts: Sequence[Prompt]) -> list[str]:
    """The greedy continuations by our loop."""
    tokenizer = bundle.tokenizer()
    return [_own_answer(bundle, session, tokenizer, prompt) for prompt in prompts]


def check_stock_runner(
    bundle: Bundle, runtime: HostRuntime, prompts: Sequence[Prompt], ours: Sequence[str], answer_tokens: int
) -> Check:
    """Whether TextLLMRunner's greedy text is `ours`. No session may be open: each holds the program in memory."""
    answers = [_as_the_runner(bundle, runtime, prompt, answer) for prompt, answer in zip(prompts, ours, strict=True)]
    differing = [f"{our!r} and {stock!r}" for our, stock in answers if our != stock]
    same = f"{len(answers)} prompts: the greedy text of TextLLMRunner is that of single steps"
    compared = f"greedy text of up to {answer_tokens} tokens by TextLLMRunner with that of our loop"
    return Check("stock runner", not differing, "; ".join(differing) or same, "equal", compared)


def _own_answer(bundle: Bundle, session: Session, tokenizer: Tokenizer, prompt: Prompt) -> str:
    """The greedy continuation by our loop."""
    manifest = bundle.manifest
    return generate(
        session,
        tokenizer,
        prompt.ids,
        max_new_tokens=prompt.new_tokens(manifest.context),
        eos_ids=manifest.tokenizer.eos_ids,
        stop=manifest.chat.stop if manifest.chat else (),
    ).text


def _as_the_runner(bundle: Bundle, runtime: HostRuntime, prompt: Prompt, answer: str) -> tuple[str, str]:
    """`answer` and the stock runner's, both as far as the runner's binding can say it."""
    new_tokens = prompt.new_tokens(bundle.manifest.context)
    try:
        found = generate_with_stock_runner(bundle, prompt.text, runtime, max_new_tokens=new_tokens, bos=prompt.bos)
    except PartialCharacterError as error:
        return answer[: len(error.text)], error.text
    return answer, found.text
