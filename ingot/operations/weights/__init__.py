"""Model weights on the disk of a host: which files, from where, verified and published whole."""
