# Ends a transaction that failed: the host is as it was before, what served serves again, and one sentence says so.

# Why it failed (given), what is now, where to read more.
fail() {
  undo
  more="all that was done is in $log there"
  [ ! "$make_log" -nt "$work/plan" ] || more="the compiler's log is $make_log there"
  printf '%s: %s; %s; %s\n' "$host" "$1" "$kept" "$more" >"$work/sentence"
  exit 1
}

undo() {
  kept='nothing was changed'
  [ -e "$state" ] || return 0
  running=$(sed -n "s/^running$tab//p" "$state")
  unload
  restored=yes
  restore || restored=no
  [ -z "$running" ] || { modprobe nvidia && modprobe nvidia-uvm; }
  start_daemons
  undrain
  kept=$(outcome)
  [ "$restored" = no ] || rm -rf -- "$before"
}

# A module that runs and did not run before; where it never changed it may be in use, and stays.
unload() {
  now=$(loaded)
  [ -n "$now" ] && [ "$now" != "$running" ] || return 0
  remember_daemons
  stop_daemons
  modprobe -r nvidia_drm nvidia_modeset nvidia_uvm nvidia_peermem 2>/dev/null
  modprobe -r nvidia
}

outcome() {
  now=$(loaded)
  if [ "$restored" = no ]; then
    echo "its packages could not all be put back ($(differences | cut -f 1 | paste -sd ' '))"
  elif [ "$now" != "$running" ]; then
    echo "the packages are as before, but ${now:-no driver} runs where $running did; reboot the host"
  elif [ -n "$running" ]; then
    echo "the packages are as before and driver $running goes on"
  else
    echo 'the packages are as before'
  fi
}
