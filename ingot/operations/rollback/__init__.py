"""States of a host that were proven: kept on the host, and gone back to without anything from elsewhere."""
