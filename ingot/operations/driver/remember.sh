# Remembers the host as it is before the driver changes, so that it can become so again.

remember() {
  rm -rf -- "$before" "$before.new"
  mkdir -m 0700 -- "$before.new" "$before.new/dkms"
  {
    echo "log$tab$(stat -c %s -- "$log")"
    echo "running$tab$(loaded)"
    dpkg-query -W -f 'package\t${db:Status-Abbrev}\t${binary:Package}\t${Version}\n'
  } >"$before.new/state"
  dkms_trees | while read -r tree; do cp -a -- "$tree" "$before.new/dkms/"; done
  dkms_modules | tar -C / -cf "$before.new/modules.tar" -T -
  sync -f "$before.new" && mv -T -- "$before.new" "$before" || {
    printf '%s: what runs now could not be kept in %s; see %s there\n' "$host" "$before" "$log" >"$work/sentence"
    exit 1
  }
  remember_daemons
  fetch_present
}

fetch() {
  apt_get install --download-only --reinstall --allow-downgrades --allow-change-held-packages "$@"
}

# The packages that are installed now: they must be at hand for an undo, also when their repository is not.
fetch_present() {
  present=$(awk -F'\t' -v ours="$ours" '$1 == "package" && $2 ~ /^.i/ && $3 ~ ours { print $3 "=" $4 }' "$state")
  [ -n "$present" ] && grep -q '^install' "$work/plan" || return 0
  # apt fetches nothing where one of them is gone from its archive; then each by itself.
  fetch $present || for package in $present; do fetch "$package"; done
}
