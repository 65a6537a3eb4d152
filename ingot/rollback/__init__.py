"""Hosts go back to states that they keep, one host after the other, and tell what was done to them."""
