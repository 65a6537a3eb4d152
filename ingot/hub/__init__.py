"""Where models come from, asked from the control machine: a hub, its mirror, or a directory of this machine."""
