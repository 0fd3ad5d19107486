"""XNNPACK: the CPU of any phone, and of the machine that exports."""

from mlp_export.backends.base import AndroidRuntime, Delegate, IosRuntime, PublishedSpeed
from mlp_export.backends.xnnpack.options import XnnpackOptions

DELEGATE = Delegate(
    name="xnnpack",
    id="XnnpackBackend",
    runs_on="the CPU of any phone",
    options=XnnpackOptions,
    default_model="mobilellm-pro-base-int4-cpu",
    android=AndroidRuntime("org.pytorch:executorch-android", ("arm64-v8a", "x86_64")),
    ios=IosRuntime("backend_xnnpack"),
    published=PublishedSpeed("S25 CPU", {2048: 8.9, 8192: 63.5}),
)
