#!/usr/bin/env bash
# Runs the public suite of tests for HTTP caches (http-tests/cache-tests) against the built gateway and counts what
# passes. The suite is not part of this repository: give its folder, with liquidjs, undici and marked installed beside it
# (`npm install --no-save liquidjs undici@7 marked`), as the first argument or in CACHE_TESTS.
#
#   tests/cache-conformance/run.sh FOLDER            prints what passes, and fails below the bar
#   tests/cache-conformance/run.sh FOLDER --table    prints the table of docs/cache-conformance.md
#   CACHE=true tests/cache-conformance/run.sh FOLDER  the same with another `cache` of the route
#   tests/cache-conformance/run.sh FOLDER ID         runs one test and shows what went over the wire
#
# Exit code 77 means that it could not be run.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(cd "$here/../.." && pwd)"
suite="${1:-${CACHE_TESTS:-}}"
wanted="${2:-}"

if ! command -v node >/dev/null; then
  echo "NOT RUN: node is not installed"
  exit 77
fi
if [ -z "$suite" ] || [ ! -f "$suite/test-engine/cli.mjs" ]; then
  echo "NOT RUN: the suite is not here; give the folder of http-tests/cache-tests as an argument or in CACHE_TESTS"
  exit 77
fi
suite="$(cd "$suite" && pwd)"
for module in liquidjs undici marked; do
  if [ ! -d "$suite/node_modules/$module" ]; then
    echo "NOT RUN: $module is not installed in $suite"
    exit 77
  fi
done

work="$(mktemp -d)"
pids=()
trap 'for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done; rm -rf "$work"' EXIT
read -r origin gateway < <(python3 - <<'PY'
import socket
sockets = [socket.socket() for _ in range(2)]
for one in sockets:
    one.bind(("127.0.0.1", 0))
print(*[one.getsockname()[1] for one in sockets])
PY
)

binary="${TOLLGATE:-$root/target/release/tollgate}"
[ -x "$binary" ] || binary="$root/target/debug/tollgate"
# Beside `cache = true`: a share of the time since Last-Modified, without which the tests of heuristic freshness would have
# nothing to see, and what is stale while the origin cannot be reached. No default freshness.
default='{ heuristic = 0.1, stale_if_error = "60s" }'
cat >"$work/gateway.toml" <<TOML
[server]
listen = ["127.0.0.1:$gateway"]
workers = 1
[admin]
listen = "off"
[log]
access = "off"
[[routes]]
prefix = "/"
upstream = "http://127.0.0.1:$origin"
cache = ${CACHE:-$default}
TOML

cd "$suite"
export npm_config_protocol=http npm_config_port="$origin" npm_config_pidfile="$work/origin.pid"
node test-engine/server/server.mjs >"$work/origin.log" 2>&1 &
pids+=($!)
"$binary" run --config "$work/gateway.toml" >"$work/gateway.log" 2>&1 &
pids+=($!)
for port in "$origin" "$gateway"; do
  for _ in $(seq 100); do
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break
    sleep 0.1
  done
done

export npm_config_base="http://127.0.0.1:$gateway" npm_package_config_id=
case "$wanted" in
  "" | --table) ;;
  *)
    npm_config_id="$wanted" node --no-warnings test-engine/cli.mjs
    exit
    ;;
esac
node --no-warnings test-engine/cli.mjs >"$work/tollgate.json" 2>"$work/client.log" ||
  { tail -5 "$work/client.log" "$work/gateway.log"; exit 1; }
node --no-warnings "$here/count.mjs" "$suite" "$work/tollgate.json" ${wanted:+"$wanted"}
