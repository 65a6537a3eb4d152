"""A host leaves an inventory: what Ingot installed is removed over SSH, then its file and its pinned key go."""
