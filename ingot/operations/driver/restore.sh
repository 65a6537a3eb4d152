# Puts packages and modules back as `remember` found them.

# Each package that we touched, or that is broken and NVIDIA's, with what it was before.
differences() {
  {
    printed | sed -n -E 's/^(Unpacking|Removing|Setting up) ([a-z0-9][a-z0-9.+:-]+) .*/\2/p'
    broken | grep -E "$ours"
  } | sort -u | while read -r name; do
    was=$(awk -F'\t' -v name="$name" '$1 == "package" && $3 == name { print $2 "\t" $4 }' "$state")
    is=$(dpkg-query -W -f '${db:Status-Abbrev}\t${Version}' "$name" 2>/dev/null | grep -v '^.n')
    [ "$was" != "$is" ] || continue
    # A kernel that came with its modules stays: the meta package that wanted it would go with it.
    case $name in linux-image-[0-9u]* | linux-modules-[0-9]* | linux-modules-extra-* | linux-firmware*) continue ;; esac
    # So does a library of the system that a compiler wanted newer: going back to the old one would break more.
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
  restore_packages
  restore_holds
  restore_modules
  [ -z "$(differences)" ]
}

restore_packages() {
  # Nothing is built on the way back: it takes minutes, and may fail as it just did. The modules were kept.
  mkdir -- "$work/bin"
  printf '#!/bin/sh\nexit 0\n' >"$work/bin/dkms"
  chmod 0755 "$work/bin" "$work/bin/dkms"
  PATH=$work/bin:$PATH
  install_wanted || {
    # What cannot be put back must not stay half-configured either: it would fail every later apt run of the host.
    half=$(broken | grep -E "$ours")
    [ -z "$half" ] || dpkg --remove --force-depends --force-remove-reinstreq $half
    install_wanted || apt_get --fix-broken install
  }
  PATH=${PATH#*:}
  new=$(awk -F'\t' '$2 == "" { print $1 }' "$work/differences")
  # Their configuration came with them.
  [ -z "$new" ] || dpkg --purge $new
}

install_wanted() {
  apt_get -o "DPkg::Path=$PATH" install --no-install-recommends --allow-downgrades --allow-change-held-packages $wanted
}

restore_holds() {
  held=$(awk -F'\t' '$2 ~ /^h/ { print $1 }' "$work/differences")
  [ -z "$held" ] || apt-mark hold $held
  unheld=$(awk -F'\t' '$2 ~ /^i/ { print $1 }' "$work/differences")
  [ -z "$unheld" ] || apt-mark unhold $unheld
}

restore_modules() {
  dkms_trees | while read -r tree; do rm -rf -- "$tree"; done
  dkms_modules | while read -r module; do rm -f -- "/$module"; done
  [ -z "$(ls "$before/dkms")" ] || cp -a -- "$before/dkms/." /var/lib/dkms/
  tar -C / -xf "$before/modules.tar"
  for kernel in $(find /lib/modules/ -maxdepth 2 -name modules.dep | cut -d/ -f4); do
    depmod -a "$kernel"
  done
}
