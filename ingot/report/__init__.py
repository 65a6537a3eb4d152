"""What people read: tables, lines and bars in the terminal, and self-contained HTML pages."""
