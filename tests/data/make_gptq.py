"""Makes gptq.safetensors: small weights as GPTQModel packs them, with the values that it dequantizes them to.

    python tests/data/make_gptq.py tests/data/gptq.safetensors

Ran with gptqmodel 7.7.0 in an environment of its own (it asks for another torch than this project), its optional
`defuser` replaced by a stub: nothing of it is used here.
"""

from __future__ import annotations

import importlib.machinery
import sys
from types import SimpleNamespace
from unittest.mock import MagicMock

for name in ("defuser", "defuser.modeling", "defuser.utils", "defuser.utils.common"):
    sys.modules[name] = MagicMock(__spec__=importlib.machinery.ModuleSpec(name, None))

import torch  # noqa: E402
from gptqmodel.nn_modules.qlinear.torch import TorchLinear  # noqa: E402
from gptqmodel.utils.model import convert_gptq_v2_to_v1_format_module  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

IN, OUT = 128, 32
# name -> bits, group size (-1: a scale a row), symmetric, desc_act
CASES = {
    "int4-g32": (4, 32, True, False),
    "int4-g64": (4, 64, True, False),
    "int4-channel": (4, -1, True, False),
    "int8-channel": (8, -1, True, False),
    "act-order": (4, 32, True, True),
    "asymmetric": (4, 32, False, False),
}


def main(file: str) -> None:
    torch.manual_seed(0)
    tensors: dict[str, torch.Tensor] = {}
    for name, (bits, group_size, symmetric, desc_act) in CASES.items():
        group = IN if group_size == -1 else group_size
        order = torch.randperm(IN) if desc_act else torch.arange(IN)
        g_idx = torch.empty(IN, dtype=torch.int32)
        g_idx[order] = (torch.arange(IN) // group).int()
        half, top = 2 ** (bits - 1), 2**bits
        scales = (torch.rand(OUT, IN // group) * 0.01 + 0.001).half()
        zeros = torch.full(scales.shape, half) if symmetric else torch.randint(1, top - 1, scales.shape)
        codes = torch.randint(0, top, (OUT, IN))
        codes[0, 0], codes[0, 1] = 0, top - 1
        columns = g_idx.long()
        linear = torch.nn.Linear(IN, OUT, bias=False)
        linear.weight.data = (codes - zeros[:, columns]) * scales.float()[:, columns]
        packed = TorchLinear(bits, group_size, symmetric, desc_act, IN, OUT)
        packed.pack_original(linear, scales.clone(), zeros.clone().float(), g_idx)
        for version in (2, 1):
            if version == 1:
                config = SimpleNamespace(bits=bits, sym=symmetric, pack_dtype=torch.int32)
                convert_gptq_v2_to_v1_format_module(packed, config)
            else:
                expected = packed.dequantize_weight().T.contiguous()
            for part in ("qweight", "qzeros", "scales", "g_idx"):
                tensors[f"{name}.v{version}.{part}"] = getattr(packed, part).detach().clone().contiguous()
        tensors[f"{name}.expected"] = expected
        tensors[f"{name}.codes"] = (codes - half).to(torch.int8)
    save_file(tensors, file, metadata={"made by": "gptqmodel 7.7.0"})


if __name__ == "__main__":
    main(sys.argv[1])
