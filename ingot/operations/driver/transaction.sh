# Changes the driver's packages as one transaction: follows $1/plan by $1/packages.sh, then has the module built for
# every kernel. When either fails, every package that dpkg touched goes back to its version, hold and absence of before,
# and what served serves again. $1/mode: `begin` starts a transaction, `continue` adds to the open one, `undo` ends it.
# $1/remedy says what to do when a module does not build, or why a transaction is undone; $1/drain, if it is there, has
# the engine's replicas stopped first; $1/pool gives them back their place in the gateway's pool.
set -uf
umask 022
work=$1
log=$2
exec >>"$log" 2>&1
readers=$(cat "$work/readers")
for step in shared daemons remember drain build restore undo; do
  . "$work/$step.sh"
done

mkdir -p -m 0755 "${before%/*}"
case $(cat "$work/mode") in
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
