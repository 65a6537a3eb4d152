"""GGUF files: their keys, their tensor table, and the model that both describe. No tensor is read."""
