"""Qualcomm's HTP through QNN: one static graph of N rows, 16-bit activations, 8-bit KV cache."""

from mlp_export.backends.base import AndroidRuntime, Delegate, PublishedSpeed
from mlp_export.backends.qnn.options import QnnOptions

DELEGATE = Delegate(
    name="qnn",
    id="QnnBackend",
    runs_on="the NPU of a Snapdragon",
    options=QnnOptions,
    default_model="mobilellm-pro-base-int4-accelerator",
    android=AndroidRuntime(
        "org.pytorch:executorch-android-qnn", ("arm64-v8a",), {"qairt": "com.qualcomm.qti:qnn-runtime"}
    ),
    published=PublishedSpeed("S24 HTP", {2048: 1.96, 8192: 9.8}),
)
