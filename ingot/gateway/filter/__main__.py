"""`python3 -m ingot.gateway.filter RULES SOCKET ENGINE-SOCKET DIGEST [COUNTS]`: run the filter."""

from __future__ import annotations

import asyncio
import importlib
import logging
import resource
import sys
from pathlib import Path

from ingot.gateway.filter import settings
from ingot.gateway.filter.exchange import Exchange
from ingot.gateway.filter.ledger import Ledger
from ingot.gateway.filter.server import Server


def main() -> None:
    """Run until SIGTERM. A rules file that cannot be read ends the process before it listens."""
    rules, socket, engine, digest, *counts = sys.argv[1:]
    # Each request takes two files, and Docker's usual limit is 1024.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
    ledger = Ledger(Path(counts[0]) if counts else None)
    server = Server(Exchange(settings.read(Path(rules)), engine, ledger), Path(socket), digest)
    try:
        # A faster event loop; engines' images carry it.
        run = importlib.import_module("uvloop").run
    except ImportError:
        run = asyncio.run
    run(server.run())


if __name__ == "__main__":
    main()
