# What the steps of a transaction share: its paths, apt, and looks at packages and modules. Set before: work, log.
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l APT_LISTCHANGES_FRONTEND=none UCF_FORCE_CONFFOLD=1
# Outlives a power loss: the run after it knows what to go back to. Removed when the new driver is proven.
before=/var/lib/ingot/driver-before
state=$before/state
make_log=/var/log/ingot/driver-make.log
compose=/etc/ingot/engine/compose.yaml
tab=$(printf '\t')
# Names of the packages that carry the driver.
ours='nvidia|cuda|libnv|nvlsm'
host=$(sed -n "s/^host$tab//p" "$work/plan")
[ ! -e "$work/proxy" ] || . "$work/proxy"

apt_get() {
  apt-get -y -q -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confdef \
    -o Dpkg::Options::=--force-confold "$@" </dev/null
}

# Packages that dpkg has in no whole state: half-installed, unpacked, half-configured, waiting for triggers.
broken() {
  dpkg-query -W -f '${db:Status-Abbrev}\t${binary:Package}\n' | awk -F'\t' '$1 ~ /^.[HUFWt]|R/ { print $2 }'
}

# The version of the loaded module; nothing where none is loaded.
loaded() {
  sed -n -E 's/^NVRM version:.* ([0-9]+\.[0-9.]+) .*/\1/p' /proc/driver/nvidia/version 2>/dev/null
}

# Directories in which dkms built NVIDIA's sources.
dkms_trees() {
  [ ! -d /var/lib/dkms ] || find /var/lib/dkms -mindepth 1 -maxdepth 1 -name 'nvidia*'
}

# The modules that dkms installed, without the leading slash.
dkms_modules() {
  (cd / && find lib/modules/ -path '*/updates/dkms/nvidia*' -type f)
}

# What our own apt and dpkg printed since the transaction began; other package managers write elsewhere.
printed() {
  tail -c +$(($(sed -n "s/^log$tab//p" "$state") + 1)) -- "$log"
}

# What the step that failed has said, without the host's name and the path of the log.
reason() {
  sed "s/^$host: //; s/; see [^;]*\$//" "$work/sentence"
}
