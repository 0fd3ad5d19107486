"""Apple's Neural Engine through Core ML: one static graph of N rows in float16, caches outside."""

from mlp_export.backends.base import Delegate, IosRuntime
from mlp_export.backends.coreml.options import CoremlOptions

DELEGATE = Delegate(
    name="coreml",
    id="CoreMLBackend",
    runs_on="the Neural Engine of an iPhone or iPad",
    options=CoremlOptions,
    default_model="mobilellm-pro-base-int4-accelerator",
    ios=IosRuntime("backend_coreml", simulator_target="cpu_only"),
)
