# Stops what holds the GPUs and computes nothing (the driver's own daemons, monitoring), and starts it again. Set
# before: readers, names of such programs as patterns, one a line.

# Units and containers to start again, one a line; it outlives reboots and runs that were killed.
stopped=/var/lib/ingot/driver-stopped

# Whatever of these runs now, put down before anything of it is stopped.
remember_daemons() {
  mkdir -p -m 0755 "${stopped%/*}"
  {
    cat "$stopped" 2>/dev/null
    for unit in nvidia-persistenced nvidia-fabricmanager nvidia-imex nvidia-topologyd nvidia-dcgm dcgm-exporter; do
      systemctl is-active --quiet "$unit" 2>/dev/null && echo "unit $unit.service"
    done
    watching | grep -v '^process '
  } | sort -u >"$stopped.new"
  if [ -s "$stopped.new" ]; then
    sync -- "$stopped.new" && mv -fT -- "$stopped.new" "$stopped"
  else
    rm -f -- "$stopped.new"
  fi
}

# The programs that read the GPUs' counters: as `unit NAME`, `container ID`, or `process PID` in somebody's session.
watching() {
  find /proc/[0-9]*/fd -lname '/dev/nvidia*' 2>/dev/null | sed 's|/fd/.*||; s|.*/||' | sort -nu | while read -r pid; do
    read -r name 2>/dev/null <"/proc/$pid/comm" || continue
    printf '%s\n' "$readers" | while read -r pattern; do
      # shellcheck disable=SC2254
      case $name in $pattern) echo yes; break ;; esac
    done | grep -q yes || continue
    group=$(sed -n -E 's/^(0::|1:name=systemd:)//p' "/proc/$pid/cgroup" 2>/dev/null | tail -n 1)
    case $group in
      *docker[-/]*)
        id=${group##*docker[-/]}
        echo "container ${id%.scope}"
        ;;
      *user@*.service/* | */session-*.scope*) echo "process $pid" ;;
      *.service*) printf '%s\n' "$group" | grep -oE '[^/]+\.service' | head -n 1 | sed 's/^/unit /' ;;
      *) echo "process $pid" ;;
    esac
  done | sort -u
}

stop_daemons() {
  watching | sed -n 's/^process //p' | while read -r pid; do kill "$pid"; done
  sed -n 's/^container //p' "$stopped" 2>/dev/null | while read -r id; do docker stop "$id" >/dev/null; done
  for unit in $(sed -n 's/^unit //p' "$stopped" 2>/dev/null); do
    systemctl stop "$unit" 2>/dev/null
  done
}

start_daemons() {
  [ -e "$stopped" ] || return 0
  for unit in $(sed -n 's/^unit //p' "$stopped"); do
    # One that the new driver's packages do not have any more has nothing to start.
    ! systemctl cat "$unit" >/dev/null 2>&1 || systemctl is-active --quiet "$unit" || systemctl start "$unit"
  done
  sed -n 's/^container //p' "$stopped" | while read -r id; do docker start "$id" >/dev/null; done
  rm -f -- "$stopped"
}
