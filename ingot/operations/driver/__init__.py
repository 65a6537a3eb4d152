"""The NVIDIA driver on a host: its packages, its files, its modules, and whether what is installed runs."""
