"""The state that every way brings: packages, directories, files and units of a small web host."""

PACKAGES = ["nginx", "jq", "lsof", "pv"]
#: Path and mode. Where Ingot keeps its questions is among them, so that all ways have as much to do.
DIRECTORIES = {
    "/etc/bench": "0755",
    "/etc/bench/conf.d": "0755",
    "/etc/bench/secrets": "0700",
    "/srv/bench": "0755",
    "/var/lib/ingot": "0755",
    "/var/log/bench": "0750",
}
#: What a reload of nginx reads.
SITE = "/etc/nginx/conf.d/bench.conf"
UNIT = "/etc/systemd/system/bench.service"
#: Path, mode and content.
FILES = {
    **{
        f"/etc/bench/conf.d/{number:02}.conf": ("0644", f"# Part {number}\n" + f"key_{number} = value\n" * 20)
        for number in range(12)
    },
    **{f"/etc/bench/secrets/{name}": ("0600", f"{name} of a benchmark\n") for name in ("one", "two", "three")},
    "/etc/profile.d/bench.sh": ("0644", "export BENCH=1\n"),
    "/etc/logrotate.d/bench": ("0644", "/var/log/bench/*.log {\n  weekly\n  rotate 4\n  missingok\n}\n"),
    "/srv/bench/index.html": ("0644", "<title>bench</title>\n"),
    SITE: ("0644", "server {\n  listen 127.0.0.1:8099;\n  root /srv/bench;\n}\n"),
    UNIT: (
        "0644",
        "[Unit]\nDescription=A benchmark's\n\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n\n"
        "[Install]\nWantedBy=multi-user.target\n",
    ),
}
UNITS = ["nginx", "bench"]
SECRET = "/etc/bench/secrets/"
