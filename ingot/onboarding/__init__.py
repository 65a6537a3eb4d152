"""A new server becomes a member of an inventory: first login, deploy user, hardware, host file."""
