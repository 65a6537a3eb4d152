"""A host leaves, without its entry in the inventory: what tests/found runs to see what comes back."""

from ingot.operations.departure import departure

departure.remove(departure.Wish(), name="Decommission")
