"""Every default of Ingot, one comment each: override per group in group_data/<group>.py or per host in its file.

The types of each section are in ingot/settings/<section>.py; a value that is not of its type refuses its host alone.
"""

# --- upstreams: where everything is fetched from; point them at a mirror or a file tree on sites without internet
# The HTTP proxy through which apt, Docker's pulls and models go: {"uri": "http://proxy:3128"}; where it wants a login
# "login_file" (a file on this machine, one line USER:PASSWORD), where it opens TLS "ca_file" (its CA as PEM, on this
# machine), and "direct": names, domains and addresses reached without it, beside the inventory's hosts.
proxy = None
sources = {
    # The distribution's own archive, for sites where what hosts describe themselves cannot be reached: "uri" (and
    # "security_uri", where security updates have another), e.g. "https://mirror.site/{os}". Its signatures are the
    # distribution's. What the host describes of it is switched off, and comes back with `ingot decommission`. With
    # "check_valid_until": False, indexes older than a week are taken. None: the sources that the host has.
    "distribution": None,
    # Docker's own packages; {os} and {codename} are the host's, e.g. debian and trixie.
    "docker": {
        "uri": "https://download.docker.com/linux/{os}",
        "suite": "{codename}",
        "component": "stable",
        "key_url": "https://download.docker.com/linux/{os}/gpg",
        "key_fingerprint": "9DC858229FC7DD38854AE2D88D81803C0EBFCD88",
    },
    # nginx.org's packages, for hosts whose distribution has no njs; {os} and {codename} are the host's.
    "nginx": {
        "uri": "https://nginx.org/packages/{os}",
        "suite": "{codename}",
        "component": "nginx",
        "key_url": "https://nginx.org/keys/nginx_signing.key",
        "key_fingerprint": [
            "8540A6F18833A80E9C1653A42FD21310B49F6B46",
            "9E9BE90EACBCDE69FE9B204CBCDCD8A38D88A2B3",
            "573BFD6B3D8FBC641079A6ABABF5BD827BD9BF62",
        ],
    },
    # Model weights: kind "hub" (a Hugging Face endpoint), "mirror" (<uri>/<repository>/<revision>/ with an
    # ingot-manifest.json, https or file on the host) or "push" (the same below a directory of this machine).
    "models": {"kind": "hub", "uri": "https://huggingface.co"},
    # Further sources of models (hub or mirror), asked in this order for a file that the one before does not have, or
    # has with other bytes than the lock says.
    "models_fallback": [],
    # NVIDIA's driver repository; {repository} is e.g. debian13/x86_64. Keys differ between distributions.
    "nvidia_driver": {
        "uri": "https://developer.download.nvidia.com/compute/cuda/repos/{repository}/",
        "suite": "/",
        "component": "",
        "key_url": {
            "debian13": "https://developer.download.nvidia.com/compute/cuda/repos/{repository}/8793F200.pub",
            "default": "https://developer.download.nvidia.com/compute/cuda/repos/{repository}/3bf863cc.pub",
        },
        "key_fingerprint": {
            "debian13": "02182E60104FCDC26EAE1B8597A5D4CB8793F200",
            "default": "EB693B3035CD5710E231E123A4B469963BF863CC",
        },
    },
    # NVIDIA's container toolkit repository.
    "nvidia_toolkit": {
        "uri": "https://nvidia.github.io/libnvidia-container/stable/deb/$(ARCH)",
        "suite": "/",
        "component": "",
        "key_url": "https://nvidia.github.io/libnvidia-container/gpgkey",
        "key_fingerprint": "C95B321B61E88C1809C4F759DDCAE044F796ECB0",
    },
}

# --- serving
# Commits and files of models, as `ingot models lock` writes them beside the inventories: deploys take what it has and
# nothing else, and are refused without it. None, where only hosts see the mirror: the commits of site_models and of
# the catalog.
models_lock = "inventories/models.lock.yaml"
# Models that this site describes in a file, as `ingot models add` writes it; site_models stand over it. None: none.
models_site = "inventories/models.site.yaml"
# Files of repositories that name code to be loaded (`auto_map` and the like in config.json) and were read by you:
# {"ORG/NAME": {"config.json": "<sha256>"}}. Engines load no such code; other repositories with such files are refused.
models_waived = {}
# What a host serves: model (a name of the catalog), context (tokens per sequence), concurrency (sequences at once that
# the host serves in all); goal ("throughput" or "latency"), replicas and kv_offload_gib: docs/sizing.md;
# hosts and interface, where several hosts serve it together: docs/engines.md.
serve = []
# Models of this site, in the schema of docs/models.md; or commits for models of that catalog:
# {"qwen3-4b": {"revisions": {"bf16": "<40 hex digits>"}}}.
site_models = {}
# Other names by which callers may ask for a model, of the whole fleet: {"gpt-4o": "qwen3-32b"}. Where a host serves the
# model, its engine and its gateway answer for both; answers carry the model's own name. Several models may share one:
# {"gpt-4o": {"qwen3-32b": 9, "qwen3-32b-next": 1}} gives the second a tenth of the requests.
aliases = {}
# Models that stand in for another, of the whole fleet: {"qwen3-32b": ["qwen3-8b"]}. A fleet gateway gives a request to
# a host that serves one of them where no host can be used that serves the model; answers carry the name of who spoke.
fallback = {}
# Share of requests that fleet gateways give this host beside the other hosts of a model: 1 beside a 9 is a tenth.
fleet_weight = 1

# --- cache: the models on a host's disk
# An *empty* disk that deploys shall format (ext4) and mount at cache_mount, by its lasting name such as
# "/dev/disk/by-id/nvme-…"; one with a signature, partitions or data is refused. A list of such disks: one file system
# that is striped over all of them (btrfs). None: Ingot formats no disk.
cache_disk = None
# What a host's transfers of models may take of its network, megabytes (10^6 bytes) per second; None: all they can get.
cache_bandwidth_mb_s = None
# A file on this machine with a hub token for gated models; hosts get it for the fetch only and never store it.
cache_hub_token_file = None
# Whether Docker's and containerd's directories below /var/lib lie at cache_mount, too: images then fill no root disk.
cache_images = False
# The mount that cache_root must lie on, such as "/data": a host where it is not mounted is refused, so that models
# never fill its root disk. None: any will do, but a mount of /etc/fstab that is missing there refuses too.
cache_mount = None
# The TCP port on which hosts give each other their models over mutual TLS, open while some host of a run lacks them:
# one copy comes from outside, whatever the number of hosts. None: each host fetches for itself.
cache_peer_port = None
# Directory of the models: <model>/<variant>/<revision>/.
cache_root = "/srv/models"
# When a host reads its models again, to find what has rotted on its disk, as systemd's OnCalendar has it (each host
# begins up to four hours later); None: never.
cache_scrub = "Sun 01:00"
# A second TCP port beside cache_peer_port, on which hosts give each other files piece by piece, by the distribution's
# libtorrent: eight then have a model in little more than the time of one. None: whole files, from one host each.
cache_swarm_port = None

# --- changes: how runs that change a host get along, and what it keeps to go back to
# True: each operation asks the host itself; False: one look at the start of a run answers until something changes.
fresh = False
# Seconds that a run waits while another one changes the host, before it refuses with exit status 75.
lock_wait_s = 60
# States that were proven and that `ingot rollback` can go back to.
rollback_keep = 3

# --- docker: the container engine
# Further keys of /etc/docker/daemon.json, over what is there and what Ingot sets, e.g. {"registry-mirrors": [...]}.
docker_daemon = {}
# Limits of containers that set none themselves.
docker_default_ulimits = {"nofile": 1048576}
# Log of a container that sets none itself: number of files, size of one.
docker_log_max_files = 5
docker_log_max_size = "50m"
# Packages from "docker" (its own repository) or from the "distribution".
docker_source = "docker"
# Exact version of docker-ce, may end in *, e.g. "5:29.*"; None: the newest when first installed, then left alone.
docker_version = None

# --- driver: the NVIDIA driver and the container toolkit
# GPUs that Ingot may use, by UUID or index, e.g. [0, 1]; the others are left alone. None: all.
gpus_use = None
# Driver branch; 580 is the long-term one and the last that drives Maxwell, Pascal and Volta.
driver_branch = 580
# Whether someone can work at the host's console at the next boot (enrolling a module's key under Secure Boot).
driver_console = False
# Whether a run may change the driver while processes use the GPUs.
driver_disrupt = False
# What joins the GPUs through switches: "none", "fabric-manager", "fabric-manager+nvlsm" or "imex"; None: what the host
# needs.
driver_fabric = None
# Kernel modules "open" or "proprietary"; None: what the GPUs need.
driver_flavour = None
# Whether a run may bring the kernel to its newest version and reboot, where the running one has no headers any more.
driver_kernel_upgrade = False
# Packages from "nvidia", "ubuntu" (signed modules) or "debian" (non-free); None: what the host needs.
driver_source = None
# Exact driver version such as "580.173.02"; None: the newest of the branch when first installed, then left alone.
driver_version = None
# Version of the four container toolkit packages; below 1.19.1 is refused (CVE-2026-24260).
toolkit_version = "1.20.0"

# --- engine: the containers that serve
# Compute of the image: "cuda", or "cpu" for test hosts without a GPU.
engine_build = "cuda"
# Bytes of KV cache with engine_build "cpu" (on GPUs the plan decides).
engine_cpu_kv_cache_bytes = 256 * 1024**2
# Further words for the engine's command line, and further variables, for every replica.
engine_extra_args = []
engine_extra_env = {}
# This host's IPv4 address for the other hosts of a group (`hosts` of what is served); None: ssh_hostname.
engine_group_address = None
# Seconds that a new replica must go on serving before it counts as good.
engine_hold_s = 10
# CUDA of the image such as "13.0", which the driver must be able to run; None: by the image's tag and version.
engine_cuda = None
# Image by name and tag; what runs is decided by its digest, or by its id where it comes from an archive.
engine_image = "vllm/vllm-openai:v0.33.0"
# A file of `docker save` instead of a registry: on the host, else on this machine (then pushed), or an https address.
# Needs engine_image_id.
engine_image_archive = None
# Registry digest (sha256:...) of engine_image: read and checked by you, nothing is pulled without it.
engine_image_digest = None
# Id (sha256:...) that `docker image inspect` shows for the image in engine_image_archive.
engine_image_id = None
# Images of engines that have no values of their own, by engine: "llama.cpp-cuda", "lmstudio", "ollama", "sglang",
# "tensorrt-llm", "tgi", each with image and version (one with a known hole is refused), and with digest, or with
# archive and id, as above.
engine_images = {}
# Log of one replica: size of a file, number of files.
engine_log_max_files = 5
engine_log_max_size = "20m"
# Docker network without a way out, on which the gateway reaches the replicas: .10 is the first.
engine_network = "172.31.213.0/24"
# Processes and threads that one replica may have.
engine_pids = 8192
# Port of a replica within engine_network.
engine_port = 8000
# Shared memory of one replica in bytes: a limit, not a reservation.
engine_shm_bytes = 16 * 1024**3
# Seconds that running requests are given to end when a replica is stopped.
engine_stop_grace_s = 120
# Limits of a replica's processes (-1: none); not applied with engine_build "cpu".
engine_ulimits = {"memlock": -1, "nofile": 1048576, "stack": 67108864}
# Version of the engine in the image: sizing follows its arithmetic.
engine_version = "0.33.0"
# llama.cpp's image, for what `serve` gives to that engine; pinned as vLLM's is.
llama_cpp_image = "ghcr.io/ggml-org/llama.cpp:server-b11669"
llama_cpp_image_archive = None
llama_cpp_image_digest = None
llama_cpp_image_id = None
# The build that is in it; one with a known hole is refused.
llama_cpp_version = "b11669"

# --- rollout: how replicas are replaced, on one host and over a fleet
# Whether one host of a run goes first where several have something to replace; the others stop if it fails.
rollout_canary = True
# Share of the canary's requests that may be answered with 5xx while it is observed, between 0 and 1.
rollout_canary_error_share = 0.01
# Seconds that the canary is observed after its last replica serves, where other hosts wait for it; 0: not at all.
rollout_canary_hold_s = 60
# Hosts that may fail before no further one begins; so many take replicas away at once at most.
rollout_max_failures = 1
# Healthy replicas that a model keeps over all hosts of the inventory; None: one, where a replica can stay.
rollout_min_healthy = None
# Where the last replica of a model on a host must go before the new one can start: "declared" (callers get 503 with
# Retry-After), "other-hosts" (only while another host behind the fleet gateway serves it) or "spare-gpus" (only where
# the new one can start beside it first).
rollout_outage = "declared"
# Whether a new replica answers a prompt as long as the longest that its callers sent before it gets requests.
rollout_warm_up = False

# --- gateway: what callers of a host meet on port 443
# Days that the logs of requests and tokens are kept on a host, compressed: what `ingot usage` can look back.
accounting_days = 92
# A file of this machine with the CA that the ACME server's own certificate is from; None: a public one.
gateway_acme_ca_file = None
# The ACME server; naming one agrees to its terms. It must reach port 80 of each of gateway_names.
gateway_acme_directory = "https://acme-v02.api.letsencrypt.org/directory"
# Mail address given when the ACME account is made; None: none.
gateway_acme_email = None
# Whether turns of one conversation go to one replica, which has its beginning in its prefix cache, instead of to the
# one with the fewest running requests; for hosts with several replicas and for fleet gateways.
gateway_affinity = False
# Networks of proxies that stand before this gateway, e.g. ["10.0.5.0/24"]: they are believed in X-Forwarded-For, and
# may speak HTTP/1.0. []: callers come directly.
gateway_behind = []
# Memory for all request bodies together, as nginx writes sizes; when it is full, callers get 503 with Retry-After.
gateway_body_room = "1g"
# Networks and DNS zones that a newly made internal CA is limited to, e.g. ["10.0.0.0/8", "corp.example"]; []: no limit.
gateway_ca_scope = []
# Where the certificate comes from: "internal" (the CA on this machine), "files" (a pair on this machine) or "acme".
gateway_certificate = "internal"
# With "files": certificate with its issuers behind it, and its key without a password (mode 0600), both PEM.
gateway_certificate_file = None
gateway_certificate_key_file = None
# Requests of one team that may run at once on a host; a stream counts until it ends.
gateway_concurrency = 256
# Origins of web pages that may call from a browser (CORS), e.g. ["https://chat.example.org"]; []: none.
gateway_cors_origins = []
# With tokens_per_minute: what the answer to a request that names no max_tokens is charged until its usage is known.
gateway_default_max_tokens = 1024
# Name in the certificate of every host behind a fleet gateway (a host of the group `gateway`), which knows them by it;
# with gateway_ca_scope one inside of that.
gateway_fleet_name = "fleet.ingot.internal"
# First of the ports on which those hosts take their fleet gateways' requests, one per model.
gateway_fleet_port = 8443
# For how long browsers shall refuse plain HTTP for these names (HSTS), in seconds; 63072000 is two years, 0: not said.
gateway_hsts_max_age_s = 0
# Whether HTTP/2 is offered besides HTTP/1.1; docs/clients.md says which clients lose requests with it.
gateway_http2 = False
# Largest request body, as nginx writes sizes.
gateway_max_body = "32m"
# Names that callers use for this host besides its own name and its address; they go into the certificate.
gateway_names = []
# nginx from the "distribution" or from "nginx.org"; None: the distribution's where that has njs for it.
gateway_packages = None
# Port on which the proxies of gateway_behind speak the PROXY protocol, e.g. 8442; None: they send X-Forwarded-For.
gateway_proxy_port = None
# Longest silence of the engine during one answer, and how long a reload waits for running answers; in seconds.
gateway_read_timeout_s = 3600
# Patterns of this site to redact, besides those that Ingot knows, each with the longest text that it may match:
# {"staff-number": {"pattern": "ST-[0-9]{6}", "max_length": 9}}.
gateway_redact_patterns = {}
# From which confidence on, between 0 and 1, a rule for numbers replaces a text, where 0.5 is not what a site wants:
# {"bank-card": 0.7, "landline": 0.3}.
gateway_redact_thresholds = {}
# Requests that one team may start per minute on a host; a tenth of it may come at once.
gateway_requests_per_minute = 6000
# Routes that are open besides models, chat, completions, messages (Anthropic's) and responses, where the served model
# does them: some of "audio", "embeddings", "realtime" (WebSocket), "rerank" (and score).
gateway_routes = []
# Where nginx of the host serves somebody else's sites: "refuse" says which; "beside" leaves all of its configuration in
# place and adds the host's own names to it; "replace" switches it off and keeps what `ingot decommission` puts back.
gateway_takeover = "refuse"
# Where a team differs from the gateway_* values: {"sales": {"requests_per_minute": 600, "burst": 60, "concurrency": 16,
# "max_body": "8m", "models": ["qwen3-8b"], "tokens_per_minute": 200000, "tokens_per_day": 5000000,
# "tokens_per_month": 90000000 (days and months in UTC), "redact": "all" (or names of rules),
# "check_requests": "refuse" (or "redact")}}; every key may be left out.
gateway_teams = {}

# --- monitoring: what a host of the group `monitor` sees of every host; without that group nothing is installed
# Share of requests that end without a 5xx; alerts say where fewer do. Here and below, the monitor's own values count.
monitoring_answered_share = 0.99
# NVIDIA's DCGM exporter on hosts with GPUs of data centers, where their package sources have it: "auto", or "off".
monitoring_dcgm = "auto"
# Share of its disk that the monitor's figures may fill; the oldest go first.
monitoring_disk_share = 0.3
# Requests in an alert's shorter window below which no promise is called broken: one slow request at night wakes nobody.
monitoring_floor = 20
# Seconds within which a token follows the one before: an edge of the engines' histogram (0.01, 0.025, 0.05, 0.075, 0.1,
# 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1), since nothing between two edges can be counted.
monitoring_itl_s = 0.1
# Share of tokens that come within monitoring_itl_s.
monitoring_itl_share = 0.95
# Days that the monitor's figures are kept, where the disk has room.
monitoring_keep_days = 90
# Port of the monitor on which people reach Prometheus and Alertmanager, by TLS and with a login.
monitoring_login_port = 9444
# Notices by mail: {"to": ["llm@corp.example"], "sender": "ingot@corp.example", "server": "mail.corp.example:587",
# "user": None, "password_file": None (a path on this machine)}; None: none.
monitoring_mail = None
# The one port by which a host's figures leave it: for the monitor's certificate alone.
monitoring_port = 9443
# Seconds within which an answer begins: an edge of the engines' histogram (0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10,
# 20, 40, 80).
monitoring_ttft_s = 2.5
# Share of answers that begin within monitoring_ttft_s.
monitoring_ttft_share = 0.95
# Notices by HTTP POST to this address, in Alertmanager's JSON; None: none.
monitoring_webhook = None
# A file on this machine with the token that they carry (Authorization: Bearer …); None: none.
monitoring_webhook_token_file = None

# --- secrets: what the control machine keeps of an inventory
# The LDAP directory by which `ingot keys sync` gives people keys; None: none. groups are names of its entries, and
# which team each is: {"uri": "ldaps://ldap.corp.example", "bind_dn": "cn=ingot,dc=corp,dc=example",
# "password_file": "~/.config/ingot/ldap", "ca_file": None, "person": "uid" (or "mail", "sAMAccountName"),
# "groups": {"cn=llm-sales,ou=groups,dc=corp,dc=example": "sales"}}.
keys_directory = None
# Directory of the CA and the keys; None: ~/.config/ingot/<inventory>.
secrets_dir = None

# --- usage: what tokens cost
# Price of a million tokens of each model, for `ingot usage --cost`: {"qwen3-8b": {"input": 0.1, "output": 0.4}}.
prices = {}
# What prices are in.
prices_currency = "USD"

# --- verify: what `ingot verify` takes for granted
# Further TCP ports that may be open on a host, e.g. [9100] for an agent of your monitoring.
verify_ports = []
