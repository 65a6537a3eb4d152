"""A stranger becomes a fleet member: first contact, what it is made of, and its place in the inventory."""
