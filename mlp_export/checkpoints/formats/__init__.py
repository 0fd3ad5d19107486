"""Quantized checkpoints as others publish and load them: read to integer codes and scales, and written from them."""
