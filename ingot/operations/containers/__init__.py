"""What containers need: Docker Engine, GPUs by CDI, and the image of the engine."""
