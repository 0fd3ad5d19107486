"""How good an artifact is: perplexity, KL divergence, speed; what is inside it."""
