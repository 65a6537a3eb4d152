"""What must stay secret on the control machine: API keys, the internal CA, certificates, and their files."""
