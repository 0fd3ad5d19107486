"""mlp-export: MobileLLM-Pro and models of its architecture, from a checkpoint to a verified ExecuTorch bundle."""
