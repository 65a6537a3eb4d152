# Changes the driver's packages as one transaction: follows $1/plan by $1/packages.sh, then has the module built for
# every kernel. When either fails, every package that dpkg touched goes back to its version, hold and absence of before,
# and what served serves again. $1/mode: `begin` starts a transaction, `go-on` adds to the open one, `undo` ends it.
# $1/remedy says what to do when a module does not build, or why a transaction is undone; $1/drain, if it is there, has
# the engine's replicas stopped first; $1/pool gives them back their place in the gateway's pool.
set -uf
umask 022
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l APT_LISTCHANGES_FRONTEND=none UCF_FORCE_CONFFOLD=1
work=$1
log=$2
exec >>"$log" 2>&1
# Outlives a power loss: the run after it knows what to go back to. Removed when the new driver is proven.
before=/var/lib/ingot/driver-before
state=$before/state
make_log=/var/log/ingot/driver-make.log
compose=/etc/ingot/engine/compose.yaml
tab=$(printf '\t')
ours='nvidia|cuda|libnv|nvlsm'
host=$(sed -n "s/^host$tab//p" "$work/plan")
mode=$(cat "$work/mode")

# Names of packages that dpkg has in no whole state: half-installed, unpacked, half-configured, waiting for triggers.
broken() {
  dpkg-query -W -f '${db:Status-Abbrev}\t${binary:Package}\n' | awk -F'\t' '$1 ~ /^.[HUFWt]|R/ { print $2 }'
}

remember() {
  rm -rf -- "$before" "$before.new"
  mkdir -m 0700 -- "$before.new" "$before.new/dkms"
  {
    echo "log$tab$(stat -c %s -- "$log")"
    echo "running$tab$(loaded)"
    for unit in nvidia-persistenced nvidia-fabricmanager nvidia-dcgm; do
      systemctl is-active --quiet "$unit" 2>/dev/null && echo "unit$tab$unit"
    done
    dpkg-query -W -f 'package\t${db:Status-Abbrev}\t${binary:Package}\t${Version}\n'
  } >"$before.new/state"
  built | while read -r tree; do cp -a -- "$tree" "$before.new/dkms/"; done
  installed | tar -C / -cf "$before.new/modules.tar" -T -
  sync -f "$before.new" && mv -T -- "$before.new" "$before" || {
    printf '%s: what runs now could not be kept in %s; see %s there\n' "$host" "$before" "$log" >"$work/sentence"
    exit 1
  }
  current=$(awk -F'\t' -v ours="$ours" '$1 == "package" && $2 ~ /^.i/ && $3 ~ ours { print $3 "=" $4 }' "$state")
  # What goes back must be at hand when it is needed, also when the repository is not.
  if [ -n "$current" ] && grep -q '^install' "$work/plan"; then
    apt_get install --download-only --reinstall --allow-downgrades --allow-change-held-packages $current
  fi
}

# What dkms made of NVIDIA's sources, and where it installed it.
built() {
  [ ! -d /var/lib/dkms ] || find /var/lib/dkms -mindepth 1 -maxdepth 1 -name 'nvidia*'
}

installed() {
  (cd / && find lib/modules/ -path '*/updates/dkms/nvidia*' -type f)
}

loaded() {
  sed -n -E 's/^NVRM version:.* ([0-9]+\.[0-9.]+) .*/\1/p' /proc/driver/nvidia/version 2>/dev/null
}

# What our own apt and dpkg did since the transaction began; other package managers write elsewhere.
said() {
  tail -c +$(($(sed -n "s/^log$tab//p" "$state") + 1)) -- "$log"
}

# Orderly, each replica within its grace period. Stopped by hand they stay down until the engine role, or the next
# boot, starts what is not running.
drain() {
  # Its first: the pool of a transaction that goes on is drained already.
  [ ! -s "$work/pool" ] || [ -e "$before/pool" ] || cp -- "$work/pool" "$before/pool"
  [ -e "$compose" ] && command -v docker >/dev/null || return 0
  [ -n "$(docker ps --quiet --filter label=com.docker.compose.project=ingot-engine)" ] || return 0
  echo drained >>"$state"
  systemctl stop ingot-engine.service 2>/dev/null
  docker compose --file "$compose" stop && return 0
  echo "the engine's replicas could not be stopped; see $log there" >"$work/sentence"
  return 1
}

# Every kernel with headers can boot here, so that each needs the module.
build() {
  command -v dkms >/dev/null || return 0
  dkms status 2>/dev/null | sed -n 's|^\(nvidia[^/,]*\)[/,] *\([^,: ]*\).*|\1 \2|p' | sort -u >"$work/modules"
  for kernel in $(find /lib/modules -mindepth 2 -maxdepth 2 -name build | cut -d/ -f4); do
    built=$(modinfo -k "$kernel" -F version nvidia 2>/dev/null | head -n 1)
    ! grep -q " $built\$" "$work/modules" || continue
    while read -r module version; do
      dkms install -m "$module" -v "$version" -k "$kernel" </dev/null || return 1
    done <"$work/modules"
  done
}

# One sentence part on a module that did not build; status 1 when that is not what failed.
diagnose() {
  kernel=$(said | sed -n -E 's/.*Bad return status for module build on kernel: ([^ ]+).*/\1/p' | head -n 1)
  if [ -n "$kernel" ]; then
    made=$(said | sed -n -E 's/^Consult (.*make\.log) for more information.*/\1/p' | head -n 1)
    part=${made#/var/lib/dkms/}
    module=${part%%/*}
    part=${part#*/}
    error=
    if [ -r "$made" ]; then
      cp -- "$made" "$make_log"
      error=$(grep -m 1 -E '(^|[: ])(fatal )?error: |^ERROR: modpost' "$made" || grep -m 1 -E '\*\*\*' "$made")
      error=$(printf '%s' "$error" | sed "s|${made%/make.log}/||g" | cut -c 1-300)
    fi
    echo "module $module ${part%%/*} does not build for kernel $kernel (${error:-no compiler error in $made}), expected" \
      "it for every kernel that can boot"
    return
  fi
  kernel=$(said | sed -n -E 's/.*kernel headers for kernel ([^ ]+) cannot be found.*/\1/p' | head -n 1)
  [ -n "$kernel" ] && echo "the headers of kernel $kernel are missing, which its NVIDIA module is built from" \
    "(expected linux-headers-$kernel)"
}

apt_get() {
  apt-get -y -q -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confdef \
    -o Dpkg::Options::=--force-confold "$@" </dev/null
}

# Each package that we touched, or that is broken and NVIDIA's, with what it was before. A library of the system that
# a compiler wanted newer stays: going back from a working one would be the greater change.
differences() {
  {
    said | sed -n -E 's/^(Unpacking|Removing|Setting up) ([a-z0-9][a-z0-9.+:-]+) .*/\2/p'
    broken | grep -E "$ours"
  } | sort -u | while read -r name; do
    was=$(awk -F'\t' -v name="$name" '$1 == "package" && $3 == name { print $2 "\t" $4 }' "$state")
    is=$(dpkg-query -W -f '${db:Status-Abbrev}\t${Version}' "$name" 2>/dev/null | grep -v '^.n')
    [ "$was" != "$is" ] || continue
    # So does a kernel that came with its modules: the meta package that wanted it would go with it.
    case $name in linux-image-[0-9u]* | linux-modules-[0-9]* | linux-modules-extra-* | linux-firmware*) continue ;; esac
    if printf '%s\n' "$name" | grep -Eq "$ours" || [ -z "$was" ]; then
      printf '%s\t%s\n' "$name" "$was"
    fi
  done
}

# Status 1 when the packages are not as before.
restore() {
  differences >"$work/differences"
  wanted=$(awk -F'\t' '$2 ~ /^.i/ { print $1 "=" $3; next } { print $1 "-" }' "$work/differences")
  [ -n "$wanted" ] || return 0
  # Nothing is built on the way back: it takes minutes, and may fail as it just did. The modules were kept.
  mkdir -- "$work/bin"
  printf '#!/bin/sh\nexit 0\n' >"$work/bin/dkms"
  chmod 0755 "$work/bin" "$work/bin/dkms"
  PATH=$work/bin:$PATH
  put_back || {
    # What cannot be put back must not stay half-configured either: it would fail every later apt run of the host.
    half=$(broken | grep -E "$ours")
    [ -z "$half" ] || dpkg --remove --force-depends --force-remove-reinstreq $half
    put_back || apt_get --fix-broken install
  }
  PATH=${PATH#*:}
  new=$(awk -F'\t' '$2 == "" { print $1 }' "$work/differences")
  # Their configuration came with them.
  [ -z "$new" ] || dpkg --purge $new
  held=$(awk -F'\t' '$2 ~ /^h/ { print $1 }' "$work/differences")
  [ -z "$held" ] || apt-mark hold $held
  unheld=$(awk -F'\t' '$2 ~ /^i/ { print $1 }' "$work/differences")
  [ -z "$unheld" ] || apt-mark unhold $unheld
  built | while read -r tree; do rm -rf -- "$tree"; done
  installed | while read -r module; do rm -f -- "/$module"; done
  [ -z "$(ls "$before/dkms")" ] || cp -a -- "$before/dkms/." /var/lib/dkms/
  tar -C / -xf "$before/modules.tar"
  for kernel in $(find /lib/modules/ -maxdepth 2 -name modules.dep | cut -d/ -f4); do
    depmod -a "$kernel"
  done
  [ -z "$(differences)" ]
}

put_back() {
  apt_get -o "DPkg::Path=$PATH" install --no-install-recommends --allow-downgrades --allow-change-held-packages $wanted
}

undo() {
  restored=0 kept='nothing was changed'
  [ -e "$state" ] || return 0
  # Where nothing ran before there is nothing to bring back, and where the module never changed it is in use.
  running=$(sed -n "s/^running$tab//p" "$state")
  now=$(loaded)
  if [ -n "$now" ] && [ "$now" != "$running" ]; then
    systemctl stop nvidia-persistenced nvidia-fabricmanager nvidia-dcgm 2>/dev/null
    modprobe -r nvidia_drm nvidia_modeset nvidia_uvm nvidia_peermem 2>/dev/null
    modprobe -r nvidia
  fi
  restore
  restored=$?
  [ -z "$running" ] || { modprobe nvidia && modprobe nvidia-uvm; }
  for unit in $(sed -n "s/^unit$tab//p" "$state"); do
    systemctl start "$unit"
  done
  if grep -qx drained "$state"; then
    systemctl start ingot-engine.service || docker compose --file "$compose" up --detach --no-build --pull never
  fi
  [ ! -e "$before/pool" ] || sh "$before/pool"
  now=$(loaded)
  if [ "$restored" -ne 0 ]; then
    kept="its packages could not all be put back ($(differences | cut -f 1 | paste -sd ' '))"
  elif [ "$now" != "$running" ]; then
    kept="the packages are as before, but ${now:-no driver} runs where $running did; reboot the host"
  elif [ -n "$running" ]; then
    kept="the packages are as before and driver $running goes on"
  else
    kept='the packages are as before'
  fi
  [ "$restored" -ne 0 ] || rm -rf -- "$before"
}

# Undoes what was done and fails with one sentence: why (given), what is now, where to read more.
fail() {
  undo
  more="all that was done is in $log there"
  [ ! "$make_log" -nt "$work/plan" ] || more="the compiler's log is $make_log there"
  printf '%s: %s; %s; %s\n' "$host" "$1" "$kept" "$more" >"$work/sentence"
  exit 1
}

# What the step that failed has said, without host and place of the log.
reason() {
  sed "s/^$host: //; s/; see [^;]*\$//" "$work/sentence"
}

mkdir -p -m 0755 "${before%/*}"
case $mode in
  undo) fail "$(cat "$work/remedy")" ;;
  # One that a power loss cut short is still open while dpkg is in the middle of it.
  begin) [ -e "$before" ] && [ -n "$(broken)" ] || remember ;;
  *) [ -e "$before" ] || remember ;;
esac
[ ! -e "$work/drain" ] || drain || fail "$(reason)"
if ! sh "$work/packages.sh" "$work" "$log" || ! build; then
  why=$(diagnose) && fail "$why; $(cat "$work/remedy")"
  fail "$(reason)"
fi
