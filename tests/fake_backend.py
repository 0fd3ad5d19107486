"""A session without a program, and bundles around it: what the verbs need, in milliseconds.

The model of both is a table "after this token comes that one", so a test spells the answer it wants.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from executorch.exir.schema import Program, SubsegmentOffsets
from small_checkpoints import BOS_ID, CHAT_TEMPLATE, EOS_ID, EOT_ID, VOCAB_SIZE, small_tokenizer

from mlp_export.bundle.bundle import Bundle, BundleWriter
from mlp_export.bundle.manifest import BackendInfo, Exporter, Manifest, ModelInfo, TokenizerInfo
from mlp_export.errors import InputError
from mlp_export.models.config import ModelConfig
from mlp_export.program.executorch_private import PTEFile, serialize_pte_binary
from mlp_export.runtime.host_runtime import HostNotes, VerificationBudget
from mlp_export.runtime.session import Session
from mlp_export.text.chat import ChatTemplate
from mlp_export.text.chat_derivation import derive_chat_format
from mlp_export.text.tokenizer import Tokenizer

# One that does nothing: whole, and not to be run.
PROGRAM = bytes(serialize_pte_binary(PTEFile(Program(0, [], [], [], [], SubsegmentOffsets(0, [])))))
TOKENIZER = Tokenizer(small_tokenizer())
CHAT = derive_chat_format(ChatTemplate(CHAT_TEMPLATE, {"bos_token": "<|begin_of_text|>"})).chat
CONFIG = ModelConfig(
    family="llama",
    vocab_size=VOCAB_SIZE,
    hidden_size=64,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    head_dim=32,
    ffn_size=96,
    norm_eps=1e-5,
    rope_theta=10000.0,
    rope_scaling=None,
    max_positions=8192,
    window=8,
    local_layers=(True, False),
    qk_norm=False,
    tied_embeddings=True,
    bos_id=BOS_ID,
    eos_ids=(EOS_ID, EOT_ID),
)


def ids_of(text: str) -> list[int]:
    """Token ids of `text`, special tokens included, without BOS."""
    return TOKENIZER.encode(text, bos=False, special=True)


def successors(*texts: str) -> dict[int, int]:
    """Each text as a chain of tokens, every one followed by the next."""
    chain: dict[int, int] = {}
    for text in texts:
        ids = ids_of(text)
        for token, successor in itertools.pairwise(ids):
            assert chain.setdefault(token, successor) == successor, f"{text!r} needs two successors of one token"
    return chain


class FakeSession:
    """Answers from a table, keeps what it was fed, and refuses what a Session has to refuse."""

    def __init__(self, table: Mapping[int, int], context: int = 64, prefill_chunk: int = 8) -> None:
        self.table = dict(table)
        self.context, self.prefill_chunk, self.vocab_size = context, prefill_chunk, VOCAB_SIZE
        self.fed: list[int] = []  # the cache
        self.calls: list[tuple[int, int]] = []  # (tokens, position)

    def forward(self, tokens: Sequence[int], position: int) -> torch.Tensor:
        if not 1 <= len(tokens) <= self.prefill_chunk or position + len(tokens) > self.context:
            raise InputError("a call that does not fit")
        assert position <= len(self.fed), "a gap in the cache"
        self.fed[position:] = tokens
        self.calls.append((len(tokens), position))
        logits = torch.zeros(self.vocab_size)
        if tokens[-1] in self.table:
            logits[self.table[tokens[-1]]] = 10.0
        return logits


class FakeRuntime:
    """A HostRuntime with one session, whatever the program."""

    notes = HostNotes()

    def __init__(self, session: Session) -> None:
        self.session = session

    def load(self) -> None:
        pass

    def open(self, path: Path) -> Session:
        return self.session

    def open_tapped(self, path: Path, config: ModelConfig, scratch: Path | None) -> None:
        return None

    def verification_budget(self, parameters: int) -> VerificationBudget:
        return VerificationBudget()


def manifest(*, chat: bool = True, context: int = 64, prefill_chunk: int = 8, id: str = "owner/model") -> Manifest:
    """A manifest of a small model, without files."""
    return Manifest(
        model=ModelInfo.of(CONFIG, id, "0" * 40, "Apache-2.0"),
        backend=BackendInfo("xnnpack", None, {"executorch": "1.5.1"}, {"executorch": "1.5"}),
        context=context,
        prefill_chunk=prefill_chunk,
        quantization={
            "scheme": "int4-g32",
            "scales": "weights",
            "activations": "int8-dynamic-per-token",
            "kv_cache": "int8",
        },
        kv_cache_bytes=CONFIG.kv_cache_bytes(context),
        kv_scale_bytes=0,
        device_ram_bytes=1_000_000,
        tied_weights_stored_once=True,
        tokenizer=TokenizerInfo(("tokenizer.json",), BOS_ID, (EOS_ID, EOT_ID), add_bos=True),
        chat=CHAT if chat else None,
        verification=None,
        files={},
        exporter=Exporter.this(),
    )


def write_bundle(target: Path, pte: bytes = PROGRAM, *, overwrite: bool = False, **changes: object) -> Bundle:
    """A bundle around `pte`; `changes` go to `manifest`."""
    with BundleWriter(target, overwrite) as writer:
        (writer.folder / "model.pte").write_bytes(pte)
        (writer.folder / "LICENSE").write_text("Apache-2.0")
        TOKENIZER.write(writer.folder)
        writer.write_manifest(manifest(**changes))  # type: ignore[arg-type]
        return writer.publish()
