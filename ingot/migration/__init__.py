"""Moving from another way to serve: its flags, files or model store become the `serve:` item that replaces it. Pure."""
