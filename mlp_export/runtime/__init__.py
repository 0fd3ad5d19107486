"""An open program, whatever its backend: sessions, generation, ExecuTorch's own runner."""
