"""Load benchmarks of a served model: what is sent, within which bounds, what was measured, and for how many users."""
