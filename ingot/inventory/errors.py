"""Errors of inventory files, which pyinfra's command line runs."""

from pyinfra.api.exceptions import PyinfraError

from ingot.errors import IngotError


class InventoryError(IngotError, PyinfraError):
    """An inventory that cannot be used; pyinfra prints its own errors as a sentence, and all others as a traceback."""
