"""What Ingot installed on a host, taken away again."""
