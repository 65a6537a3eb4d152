"""What is true on a host: each fact is one command and a pure parser of its output."""
