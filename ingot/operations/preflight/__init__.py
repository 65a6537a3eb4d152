"""Everything that would stop a deploy of a host, and what is worth knowing of it, found in one look."""
