# Builds the module for every kernel that can boot here, and says which one does not build.

# A kernel with headers can boot, so that it needs the module.
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
  kernel=$(printed | sed -n -E 's/.*Bad return status for module build on kernel: ([^ ]+).*/\1/p' | head -n 1)
  if [ -n "$kernel" ]; then
    made=$(printed | sed -n -E 's/^Consult (.*make\.log) for more information.*/\1/p' | head -n 1)
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
  kernel=$(printed | sed -n -E 's/.*kernel headers for kernel ([^ ]+) cannot be found.*/\1/p' | head -n 1)
  [ -n "$kernel" ] && echo "the headers of kernel $kernel are missing, which its NVIDIA module is built from" \
    "(expected linux-headers-$kernel)"
}
