"""Stand-ins for engines that need real GPUs, and the image that holds them: what they speak is real, no model is."""
