"""The CPU backend; `forward` is its door."""
