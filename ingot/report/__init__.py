"""Plans and figures for people: tables and bars in the terminal, and self-contained HTML."""
