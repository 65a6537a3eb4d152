"""Every default of Ingot, one comment each: override per group in group_data/<group>.py or per host in its file."""

# --- upstreams: where everything is fetched from; point them at a mirror or a file tree on sites without internet
sources = {}

# --- serving
# What a host serves: model (a name of the catalog), context (tokens per sequence), concurrency (sequences at once).
serve = []
# Models of this site, in the catalog's schema, merged over Ingot's own catalog.
site_models = {}

# --- gateway: what callers of a host meet on port 443
# Networks and DNS zones that a newly made internal CA is limited to, e.g. ["10.0.0.0/8", "corp.example"]; []: no limit.
gateway_ca_scope = []
# Requests of one team that may run at once on a host; a stream counts until it ends.
gateway_concurrency = 256
# Whether /v1/embeddings is open: only where the served model does it.
gateway_embeddings = False
# Largest request body, as nginx writes sizes.
gateway_max_body = "32m"
# Names that callers use for this host besides its own name and its address; they go into the certificate.
gateway_names = []
# Longest silence of the engine during one answer, and how long a reload waits for running answers; in seconds.
gateway_read_timeout_s = 3600
# Requests that one team may start per minute on a host; a tenth of it may come at once.
gateway_requests_per_minute = 6000
# Directory of the CA and the keys on the control machine; None: ~/.config/ingot/<inventory>.
secrets_dir = None
