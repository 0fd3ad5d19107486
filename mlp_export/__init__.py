"""mlp-export: MobileLLM-Pro and models of its skeleton, from a checkpoint to a proven ExecuTorch bundle."""
