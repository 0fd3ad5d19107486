"""Models as data, and the decoder in plain PyTorch."""
