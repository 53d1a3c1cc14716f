#!/usr/bin/env bash
# Starts demo providers, shunt and Envoy, prints what to try, and ends all of them
# when it is interrupted. What `make run` runs.
#   PORT=10000 ADMIN_PORT=10001 run.sh bin/shunt
set -euo pipefail
# Background jobs get process groups of their own: Ctrl-C reaches this script
# alone, and it ends the others in order.
set -m

shunt=$1
client=127.0.0.1:${PORT:-10000}
admin=127.0.0.1:${ADMIN_PORT:-10001}
dir=$(mktemp -d "${TMPDIR:-/tmp}/shunt-run.XXXXXX")
demo_pid='' shunt_pid='' stopping=''

# finish PID waits for a child to end, and gives its exit code. A signal that
# arrives meanwhile interrupts wait, not the child.
finish() {
  local code=0
  while :; do
    wait "$1" 2>/dev/null && return 0 || code=$?
    kill -0 "$1" 2>/dev/null || break
  done
  wait "$1" 2>/dev/null || code=$?
  return "$code"
}

interrupt() {
  stopping=yes
  [ -z "$shunt_pid" ] || kill -INT "$shunt_pid" 2>/dev/null || true
}

cleanup() {
  code=$?
  trap '' INT TERM HUP
  if [ -n "$shunt_pid" ]; then
    kill -INT "$shunt_pid" 2>/dev/null || true
    finish "$shunt_pid" || true
  fi
  if [ -n "$demo_pid" ]; then
    kill -INT "$demo_pid" 2>/dev/null || true
    finish "$demo_pid" || true
  fi
  rm -rf "$dir"
  [ -z "$stopping" ] || code=0
  exit "$code"
}

# until_true COMMAND…: as long as both processes live and nobody interrupts.
until_true() {
  until "$@" >/dev/null 2>&1; do
    [ -z "$stopping" ] || exit 0
    kill -0 "$demo_pid" 2>/dev/null || { finish "$demo_pid"; exit 1; }
    if [ -n "$shunt_pid" ] && ! kill -0 "$shunt_pid" 2>/dev/null; then
      code=0
      finish "$shunt_pid" || code=$?
      shunt_pid=''
      [ "$code" != 3 ] || echo "a port that is taken? try: make run PORT=20000 ADMIN_PORT=20001" >&2
      exit "$code"
    fi
    sleep 0.1
  done
}

trap interrupt INT TERM HUP
trap cleanup EXIT

"$shunt" demo --write-config "$dir/shunt.yaml" --listen "$client" --admin "$admin" >"$dir/demo.log" 2>&1 &
demo_pid=$!
until_true grep -q 'Ctrl-C ends them' "$dir/demo.log"
sed '/^wrote\|^Ctrl-C\|^$/d' "$dir/demo.log"

"$shunt" run -c "$dir/shunt.yaml" &
shunt_pid=$!
until_true curl -fsS -m 2 "http://$admin/readyz"

swift=$(sed -n '/^  swift:/,/endpoint:/s|.*endpoint: "\(http://[^/]*\).*|\1|p' "$dir/shunt.yaml")
post="curl -sS http://$client/v1/chat/completions -H 'content-type: application/json'"
body='"model":"kimi-k2.6","messages":[{"role":"user","content":"Hello"}]'
cat <<TRY

Try:

# a plain answer
$post -i -d '{$body}'

# a streamed one
$post -N -d '{$body,"stream":true}'

# a failover: the first choice answers 503 once, and the next one serves; see x-attempts and x-provider
curl -sS $swift/_demo/script -d '[{"fail":{"status":503}}]' && $post -i -d '{$body}'

# what is billed
cat $dir/events.jsonl

Ctrl-C ends everything.
TRY

code=0
finish "$shunt_pid" || code=$?
shunt_pid=''
exit "$code"
