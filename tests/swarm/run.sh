#!/usr/bin/env bash
# The real thing: deploy/swarm/stack.yaml on a Docker Swarm. Checks that requests spread evenly over the replicas
# there are, after every scaling, and that replacing all replicas under load fails no request.
#
#   tests/swarm/run.sh            builds the static binary first, unless TOLLGATE_BINARY names one
#
# Needs root, dockerd with its client, iptables and iproute2; nothing is pulled. The engine lives in namespaces of its
# own, so its bridges, rules, mounts and processes cannot touch the machine's and end with the script, however it ends.
#
# Exit code: 0 passed, 1 failed, 77 cannot run here (the reason is the last line).
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(cd "$here/../.." && pwd)"
url="http://127.0.0.1:8080/"
cgroup="tollgate-swarm-test"
patience=90 # seconds for anything that takes its time

say() { printf '\n== %s\n' "$*"; }
fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }
cannot() { printf 'cannot run here: %s\n' "$*" >&2; exit 77; }

# --- outside: what is needed, the binary, the namespaces ------------------------------------------------------------

outside() {
  [ "$(id -u)" = 0 ] || cannot "an engine needs root"
  for tool in dockerd docker iptables ip unshare tar; do
    command -v "$tool" >/dev/null || cannot "$tool is not installed"
  done
  unshare --mount --net --pid --fork true 2>/dev/null || cannot "no namespaces of one's own are allowed"
  work="$(mktemp -d)"
  trap 'clean' EXIT
  trap 'exit 130' INT TERM
  local binary="${TOLLGATE_BINARY:-}"
  [ -n "$binary" ] || { build && binary="$built"; }
  cp "$binary" "$work/tollgate"
  # The time limit holds whatever hangs; ending `unshare` ends everything inside.
  timeout --foreground --kill-after=10 900 \
    unshare --mount --net --pid --fork --mount-proc --kill-child "$0" inside "$work"
}

build() {
  local target
  target="$(rustc -vV | sed -n 's/^host: //p')"
  say "building a static binary for $target"
  # A directory of its own: other flags would make cargo rebuild everything in the usual one, and back again.
  RUSTFLAGS="-C target-feature=+crt-static" cargo build --manifest-path "$root/Cargo.toml" --release --locked \
    --bin tollgate --target "$target" --target-dir "$root/target/static"
  built="$root/target/static/$target/release/tollgate"
}

clean() {
  find /sys/fs/cgroup -depth -type d -path "*/$cgroup*" -exec rmdir {} + 2>/dev/null || true
  rm -rf "$work"
}

# --- inside: the engine and the stack -------------------------------------------------------------------------------

inside() {
  work="$1"
  export DOCKER_HOST="unix://$work/docker.sock" DOCKER_CONFIG="$work/client"
  start_engine
  make_image
  say "deploying the stack: three replicas, one gateway"
  TOLLGATE_IMAGE=tollgate:test docker stack deploy --resolve-image never -c "$root/deploy/swarm/stack.yaml" tollgate
  spread_over 3
  for replicas in 5 2 3; do
    say "scaling to $replicas"
    docker service scale --detach "tollgate_app=$replicas" >/dev/null
    spread_over "$replicas"
  done
  for round in 1 2 3; do
    replace_under_load "$round"
  done
  spread_over 3
  say "passed"
}

start_engine() {
  say "starting an engine"
  ip link set lo up
  dockerd --host "$DOCKER_HOST" --data-root "$work/data" --exec-root "$work/exec" --pidfile "$work/pid" \
    --storage-driver vfs --cgroup-parent "$cgroup" >"$work/engine.log" 2>&1 &
  until_true 30 docker info || { tail -n 5 "$work/engine.log" >&2; cannot "the engine does not start"; }
  docker version --format 'client {{.Client.Version}}, engine {{.Server.Version}}'
  docker swarm init --advertise-addr 127.0.0.1 >/dev/null || cannot "the engine makes no swarm"
}

# The image that deploy/Dockerfile ends in, made of the binary at hand instead of one compiled in a container.
make_image() {
  local changes=() line
  while IFS= read -r line; do changes+=(--change "$line"); done \
    < <(sed -n '/^FROM scratch/,$ { /^\(ENV\|USER\|EXPOSE\|ENTRYPOINT\|CMD\) /p }' "$root/deploy/Dockerfile")
  tar -C "$work" -c tollgate | docker import "${changes[@]}" - tollgate:test >/dev/null
}

# Waits until 30 requests over one connection reach exactly so many replicas, each as often as the others.
spread_over() {
  local replicas="$1" each=$((30 / $1))
  evenly() {
    "$work/tollgate" probe "$url" -n 30 --timeout 2s >"$work/probe" 2>&1 &&
      [ "$(counts)" = "$(for _ in $(seq "$replicas"); do echo "$each"; done)" ]
  }
  if ! until_true "$patience" evenly; then
    cat "$work/probe"
    docker service ps --no-trunc tollgate_app tollgate_gateway
    docker service logs --tail 20 tollgate_gateway || true
    fail "30 requests do not spread over $replicas replicas"
  fi
  cat "$work/probe"
}

# The number in front of each bar.
counts() { awk '/█/ { print $(NF - 1) }' "$work/probe"; }

# Replaces every replica while four connections ask all the time.
replace_under_load() {
  say "replacing all replicas under load, round $1"
  rm -f "$work"/load.*
  (
    while [ ! -e "$work/load.stop" ]; do
      "$work/tollgate" probe "$url" -n 500 -c 4 >"$work/load.last" 2>&1 || cat "$work/load.last" >>"$work/load.failed"
      echo 500 >>"$work/load.sent"
    done
  ) &
  local load=$!
  docker service update --force --quiet tollgate_app >/dev/null || fail "the update did not go through"
  touch "$work/load.stop"
  wait "$load"
  printf '%s requests while it changed\n' "$(awk '{ sum += $1 } END { print sum + 0 }' "$work/load.sent")"
  [ ! -s "$work/load.failed" ] || { head -n 40 "$work/load.failed"; fail "requests failed during the update"; }
}

# Tries a command once a half second until it succeeds, for so many seconds.
until_true() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$deadline" ] || return 1
    sleep 0.5
  done
}

case "${1:-outside}" in
  outside) outside ;;
  inside) inside "$2" ;;
  *) fail "no arguments are taken" ;;
esac
