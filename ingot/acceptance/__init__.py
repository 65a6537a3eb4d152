"""Proof that a server is what was ordered and computes as its model does: steps, measurements, judgement, evidence."""
