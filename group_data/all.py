"""Every default of Ingot, one comment each: override per group in group_data/<group>.py or per host in its file."""

# --- upstreams: where everything is fetched from; point them at a mirror or a file tree on sites without internet
sources = {}

# --- serving
# What a host serves: model (a name of the catalog), context (tokens per sequence), concurrency (sequences at once).
serve = []
# Models of this site, in the catalog's schema, merged over Ingot's own catalog.
site_models = {}
