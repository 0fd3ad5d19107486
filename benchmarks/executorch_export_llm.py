"""ExecuTorch's own `export_llm` as a peer: the same weights, quantized the same way, through upstream's exporter.

    python benchmarks/executorch_export_llm.py CHECKPOINT OUT [--context 2048] [--json FILE]

The wheel that the project runs on contains the exporter. It reads a checkpoint in Meta's format, which is written to
the folder OUT, where its configuration, its log and the `.pte` go too. q and k stay as they are: both formats turn
pairs of consecutive values.

The configuration is the published scheme as far as export_llm has it: int4 weights in groups of 32 with int8 dynamic
activations (8da4w), the embedding int4 in groups of 32, an int8 KV cache and the checkpoint's windows. What differs:

* Its longest call is 511 tokens, one less than the `max_seq_length` of 512: its ring cache of twice the window caps
  it at 1024, and in executorch 1.5.1 gives wrong answers for calls longer than the window and one token.
* It stores the weights of head and embedding twice.

CPU seconds and memory are those of the exporter's process and its children.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from measure import measure
from speed import show

from mlp_export.checkpoints.checkpoint import Checkpoint, read_checkpoint
from mlp_export.models.config import ModelConfig
from mlp_export.models.tensors import parameters

CONTEXT = 2048
CHUNK = 512
GROUP_SIZE = 32
# Plain names: export_llm takes a checkpoint whose path has "int8" or "8da4w" in it for one that is quantized.
WEIGHTS, PARAMS, CONFIG, PROGRAM = "weights.pth", "params.json", "config.yaml", "model.pte"
_NAMES = {  # ours -> Meta's, within a layer
    "attention_norm": "attention_norm",
    "q": "attention.wq",
    "k": "attention.wk",
    "v": "attention.wv",
    "o": "attention.wo",
    "ffn_norm": "ffn_norm",
    "gate": "feed_forward.w1",
    "up": "feed_forward.w3",
    "down": "feed_forward.w2",
}


@dataclass(frozen=True)
class ExportReport:
    """What an export took, and what it made."""

    exporter: str
    context: int
    wall_s: float
    user_s: float
    system_s: float
    peak_rss_bytes: int
    file_bytes: int


def write_meta_checkpoint(checkpoint: Checkpoint, weights: Path, params: Path) -> None:
    """Writes the weights in Meta's format and the `params.json` that goes with them."""
    config = checkpoint.config
    if config.qk_norm or config.rope_scaling or not config.tied_embeddings:
        raise ValueError(f"{checkpoint.path}: expected a checkpoint of checkpoint.py, tied and without QK norm")
    tensors = {_meta_name(name): checkpoint.tensor(name) for name in parameters(config)}
    tensors["output.weight"] = tensors["tok_embeddings.weight"]  # torch stores it once
    torch.save(tensors, weights)
    values = {
        "dim": config.hidden_size,
        "n_layers": config.num_layers,
        "n_heads": config.num_heads,
        "n_kv_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "hidden_dim": config.ffn_size,
        "vocab_size": config.vocab_size,
        "norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta,
        "use_scaled_rope": False,
    }
    params.write_text(json.dumps(values, indent=2))


def _meta_name(name: str) -> str:
    if name.startswith("layers."):
        _, layer, part = name.split(".")
        return f"layers.{layer}.{_NAMES[part]}.weight"
    return {"embed": "tok_embeddings.weight", "norm": "norm.weight"}[name]


def export_config(config: ModelConfig, context: int = CONTEXT) -> dict[str, Any]:
    """export_llm's configuration, for files in the folder it runs in."""
    model = {
        "use_kv_cache": True,
        "use_sdpa_with_kv_cache": True,
        "quantize_kv_cache": True,
        "dtype_override": "fp32",
    }
    if any(config.local_layers):
        model["local_global_attention"] = [config.window if local else 0 for local in config.local_layers]
    return {
        "base": {
            "model_class": "llama3_2",
            "checkpoint": WEIGHTS,
            "params": PARAMS,
            "metadata": json.dumps({"get_bos_id": config.bos_id, "get_eos_ids": list(config.eos_ids)}),
        },
        "model": model,
        "export": {"max_seq_length": CHUNK, "max_context_length": context, "output_name": PROGRAM},
        "quantization": {
            "qmode": "8da4w",
            "group_size": GROUP_SIZE,
            "embedding_quantize": f"4,{GROUP_SIZE}",
        },
        "backend": {"xnnpack": {"enabled": True, "extended_ops": True}},
    }


def export(checkpoint: Path, out: Path, context: int = CONTEXT) -> ExportReport:
    """Converts a checkpoint folder and exports it to the folder `out`."""
    out.mkdir(parents=True, exist_ok=True)
    opened = read_checkpoint(checkpoint)
    write_meta_checkpoint(opened, out / WEIGHTS, out / PARAMS)
    (out / CONFIG).write_text(json.dumps(export_config(opened.config, context), indent=2))  # JSON is YAML
    command = [sys.executable, "-m", "executorch.extension.llm.export.export_llm", "--config", CONFIG]
    usage = measure(command, folder=out, log=out / "export.log")
    return ExportReport(
        exporter=f"export_llm of executorch {version('executorch')}",
        context=context,
        wall_s=usage.wall_s,
        user_s=usage.user_s,
        system_s=usage.system_s,
        peak_rss_bytes=usage.peak_rss_bytes,
        file_bytes=(out / PROGRAM).stat().st_size,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Exports a checkpoint of checkpoint.py with ExecuTorch's export_llm.")
    parser.add_argument("checkpoint", type=Path, help="folder that checkpoint.py wrote")
    parser.add_argument("out", type=Path, help="folder for the converted weights, the log and the .pte")
    parser.add_argument("--context", type=int, default=CONTEXT)
    parser.add_argument("--json", type=Path, help="file for the report, besides stdout")
    arguments = parser.parse_args()
    show(asdict(export(arguments.checkpoint, arguments.out, arguments.context)), arguments.json)


if __name__ == "__main__":
    main()
