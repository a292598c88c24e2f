#!/usr/bin/env python3
"""CPU time per forwarded request of Tollgate, HAProxy and nginx, side by side on this machine; of cache hits beside
Varnish and Caddy too, where they are installed.

    apt-get install wrk haproxy nginx-light varnish nghttp2-client
    cargo build --release && benches/side_by_side.py [--rounds 5] [--scenario plain|routes|idle|jwt|limits|log|cache-1k|cache-64k]

Each proxy runs with one worker on core 0; the load (wrk, 32 connections) and the origins (nginx on three loopback ports)
run on core 1. Rounds take the proxies in turn, so that a machine that slows down slows all of them; the table shows
medians and the ratio to HAProxy, or for hits to nginx, round by round. Caddy has no cache of its own: its row is what
forwarding to the origin costs instead. CPU time is what the kernel charged to the proxy's process, divided by
the requests that wrk counted: it hardly depends on what else runs, requests per second do. Loopback only; each run ends
by itself.

`limits` and `log` ask what something adds: each process takes many short turns (h2load) within a round, and the next round
has others. `--only tollgate` leaves the peers out.

`jwt` is about tokens: plain forwarding, forwarding with 64 tokens in turn, and with more tokens in turn than any cache here
keeps, so that each is new when it comes. Beside it stands Envoy's jwt_authn with a cache of 1,000 tokens, if an `envoy` is
on the PATH.
"""
import argparse, contextlib, http.client, importlib, json, pathlib, random, shutil, socket, statistics, subprocess, sys, tempfile, time

ROOT = pathlib.Path(__file__).resolve().parent.parent
ORIGINS = [9101, 9102, 9103]
PORTS = {"tollgate": 8120, "haproxy": 8121, "nginx": 8122}
CACHES = {**PORTS, "varnish": 8133, "caddy": 8134}
SIZES = {"cache-1k": 1 << 10, "cache-64k": 64 << 10}
GUARDED = {"tollgate": 8123, "envoy": 8124, "envoy plain": 8125}
ISSUERS = {"RS256": 8126, "ES256": 8127}
TURNS, BRIEF = 40, 4000  # of each process in a round of limits or log, and the requests of each
REPEATED, NEW = 64, 20_000  # a worker's cache of verified tokens has at most 8,192


def origin_conf(folder):
    for name, size in SIZES.items():
        (folder / name).write_bytes(b"x" * size)
    servers = "".join(
        f"server {{ listen 127.0.0.1:{port}; root {folder}; add_header Cache-Control 'public, max-age=3600';"
        f" location / {{ return 200 '{'x' * 64}'; }}"
        + "".join(f" location /{name} {{ }}" for name in SIZES) + " }\n" for port in ORIGINS)
    return nginx_conf(folder, servers)


def nginx_conf(folder, servers):
    return (f"daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error;\n"
            f"events {{ worker_connections 8192; }}\nhttp {{ access_log off; keepalive_requests 100000000;\n{servers}}}\n")


def commands(folder, routes):
    """The configuration and the command of each proxy."""
    addresses = ", ".join(f'"127.0.0.1:{port}"' for port in ORIGINS)
    paths = ["/"] + [f"/svc{number:04}" for number in range(routes)]
    tollgate = "routes = [" + ", ".join(f'{{ prefix = "{path}", upstream = "u" }}' for path in paths) + "]\n" + (
        f'[server]\nlisten = ["127.0.0.1:{PORTS["tollgate"]}"]\nworkers = 1\n[admin]\nlisten = "off"\n[log]\naccess = "off"\n'
        f'[upstreams.u]\naddresses = [{addresses}]\nmax_idle = 256\n')
    haproxy = (
        "global\n nbthread 1\ndefaults\n mode http\n option forwardfor\n option http-keep-alive\n http-reuse always\n"
        " timeout connect 5s\n timeout client 60s\n timeout server 60s\n maxconn 4000\n"
        f"frontend f\n bind 127.0.0.1:{PORTS['haproxy']}\n default_backend b\nbackend b\n balance roundrobin\n"
        + "".join(f" server s{port} 127.0.0.1:{port}\n" for port in ORIGINS))
    upstream = "upstream u { keepalive 256; keepalive_requests 100000000; " + " ".join(f"server 127.0.0.1:{port};" for port in ORIGINS) + " }\n"
    nginx = nginx_conf(folder, upstream + (
        f"server {{ listen 127.0.0.1:{PORTS['nginx']}; location / {{ proxy_pass http://u; proxy_http_version 1.1;"
        " proxy_set_header Connection ''; proxy_set_header X-Forwarded-For $remote_addr; } }\n"))
    files = {"tollgate": "gateway.toml", "haproxy": "haproxy.cfg", "nginx": "nginx.conf"}
    for name, text in {"tollgate": tollgate, "haproxy": haproxy, "nginx": nginx}.items():
        (folder / files[name]).write_text(text)
    return {"tollgate": [ROOT / "target/release/tollgate", "run", "--config", folder / "gateway.toml"],
            "haproxy": ["haproxy", "-db", "-f", folder / "haproxy.cfg"],
            "nginx": ["nginx", "-p", folder, "-c", folder / "nginx.conf"]}


def caching(folder):
    """The same for proxies that answer from what they have kept; in memory, or in the system's page cache."""
    port = ORIGINS[0]
    (folder / "gateway.toml").write_text(
        f'[server]\nlisten = ["127.0.0.1:{CACHES["tollgate"]}"]\nworkers = 1\n[admin]\nlisten = "off"\n[log]\naccess = "off"\n'
        f'[[routes]]\nprefix = "/"\nupstream = "http://127.0.0.1:{port}"\ncache = true\n')
    (folder / "haproxy.cfg").write_text(
        "global\n nbthread 1\ncache c\n total-max-size 64\n max-object-size 262144\n max-age 3600\n"
        "defaults\n mode http\n option http-keep-alive\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n maxconn 4000\n"
        f"frontend f\n bind 127.0.0.1:{CACHES['haproxy']}\n default_backend b\nbackend b\n"
        f" http-request cache-use c\n http-response cache-store c\n server s 127.0.0.1:{port}\n")
    (folder / "nginx.conf").write_text(nginx_conf(folder, (
        f"proxy_cache_path {folder}/kept keys_zone=kept:16m;\nsendfile on; tcp_nopush on; open_file_cache max=100;\n"
        f"server {{ listen 127.0.0.1:{CACHES['nginx']}; location / {{ proxy_pass http://127.0.0.1:{port}; proxy_cache kept;"
        " add_header X-Cache $upstream_cache_status; } }\n")))
    (folder / "varnish.vcl").write_text(f'vcl 4.1;\nbackend default {{ .host = "127.0.0.1"; .port = "{port}"; }}\n')
    (folder / "Caddyfile").write_text(
        f"{{\n admin off\n auto_https off\n}}\nhttp://127.0.0.1:{CACHES['caddy']} {{\n reverse_proxy 127.0.0.1:{port}\n}}\n")
    all_of_them = {
        "tollgate": [ROOT / "target/release/tollgate", "run", "--config", folder / "gateway.toml"],
        "haproxy": ["haproxy", "-db", "-f", folder / "haproxy.cfg"],
        "nginx": ["nginx", "-p", folder, "-c", folder / "nginx.conf"],
        "varnish": ["varnishd", "-F", "-a", f"127.0.0.1:{CACHES['varnish']}", "-f", folder / "varnish.vcl", "-s", "malloc,64m",
                    "-n", folder / "varnish", "-p", "thread_pools=1"],
        "caddy": ["env", "GOMAXPROCS=1", "caddy", "run", "--adapter", "caddyfile", "--config", folder / "Caddyfile"]}
    programs = {"varnish": "varnishd", "caddy": "caddy"}
    return {name: command for name, command in all_of_them.items() if shutil.which(programs.get(name, "env"))}


def start(core, command, port):
    process = subprocess.Popen(["taskset", "-c", str(core), *map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return process
        except OSError:
            time.sleep(0.05)
    sys.exit(f"{command[0]} does not serve on port {port}")


def family(pid):
    """The process and its children."""
    children = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(process for child in children for process in family(int(child)))]


def cpu_seconds(pid):
    """What the scheduler has given to the threads of a process and its children; utime and stime count hundredths only."""
    total = 0
    for thread in (thread for process in family(pid) for thread in pathlib.Path(f"/proc/{process}/task").glob("*")):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # helpers of nginx end
            total += int((thread / "schedstat").read_text().split()[0])
    return total / 1e9


def memory_kib(pid):
    lines = (line for process in family(pid) for line in pathlib.Path(f"/proc/{process}/smaps_rollup").read_text().splitlines())
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def load(url, script=None):
    """What wrk says after a second."""
    wrk = ["taskset", "-c", "1", "wrk", "-t1", "-c32", "-d1", *(["-s", script] if script else []), url]
    return subprocess.run(wrk, check=True, capture_output=True, text=True).stdout


def microseconds(process, url, script=None):
    """CPU microseconds per request under a second of load."""
    return measured(process, url, script)[0]


def measured(process, url, script=None):
    """The same, and requests per second."""
    before = cpu_seconds(process.pid)
    said = load(url, script)
    if "Non-2xx" in said or "Socket errors" in said:
        sys.exit(f"{url} failed:\n{said}")
    requests = next(int(line.split()[0]) for line in said.splitlines() if "requests in" in line)
    return (cpu_seconds(process.pid) - before) * 1e6 / requests, requests


def briefly(process, url):
    """CPU microseconds per request under a short load, and requests per second."""
    before, begun = cpu_seconds(process.pid), time.monotonic()
    command = ["taskset", "-c", "1", "h2load", "--h1", "-t1", "-c32", f"-n{BRIEF}", url]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    took = time.monotonic() - begun
    if f"status codes: {BRIEF} 2xx" not in said:
        sys.exit(f"{url} failed:\n{said}")
    return (cpu_seconds(process.pid) - before) * 1e6 / BRIEF, BRIEF / took


def idle_kib(process, port, count=1000):
    """Memory for each of `count` connections that had one request and wait."""
    def ask():
        connection = socket.create_connection(("127.0.0.1", port), 5)
        connection.sendall(b"GET / HTTP/1.1\r\nHost: bench\r\nAccept: */*\r\n\r\n")
        while not connection.recv(65536).endswith(b"x" * 64):
            pass
        return connection
    for _ in range(50):
        ask().close()
    before = memory_kib(process.pid)
    held = [ask() for _ in range(count)]
    return (memory_kib(process.pid) - before) / len(held)


def envoy(folder, port, guarded):
    """The configuration and the command of an Envoy that verifies tokens, or does not."""
    name = lambda kind, what: {"@type": f"type.googleapis.com/envoy.extensions.{kind}.v3.{what}"}
    verify = {"providers": {"p": {"issuer": "https://bench/", "forward": False, "local_jwks": {"filename": str(folder / "jwks.json")},
                                  "jwt_cache_config": {"jwt_cache_size": 1000}}},
              "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "p"}}]}
    filters = [{"name": "envoy.filters.http.jwt_authn", "typed_config": name("filters.http.jwt_authn", "JwtAuthentication") | verify}] if guarded else []
    filters.append({"name": "envoy.filters.http.router", "typed_config": name("filters.http.router", "Router")})
    route = {"match": {"prefix": "/"}, "route": {"cluster": "u"}}
    manager = name("filters.network.http_connection_manager", "HttpConnectionManager") | {
        "stat_prefix": "in", "use_remote_address": True, "http_filters": filters,
        "route_config": {"virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [route]}]}}
    address = lambda port: {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    limits = {"thresholds": [{"max_connections": 4096, "max_pending_requests": 8192, "max_requests": 8192}]}
    endpoints = [{"endpoint": {"address": address(port)}} for port in ORIGINS]
    listener = {"name": "l", "address": address(port), "filter_chains": [
        {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}]}
    cluster = {"name": "u", "type": "STATIC", "circuit_breakers": limits, "load_assignment": {"cluster_name": "u", "endpoints": [{"lb_endpoints": endpoints}]}}
    file = folder / f"envoy-{port}.json"
    file.write_text(json.dumps({"static_resources": {"listeners": [listener], "clusters": [cluster]}}))
    return ["envoy", "-c", file, "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]


def tokens(algorithm, count):
    """Different tokens of an issuer that runs, and its keys."""
    issuer = http.client.HTTPConnection("127.0.0.1", ISSUERS[algorithm])
    def ask(method, path, body=None):
        issuer.request(method, path, body, {"Content-Type": "application/x-www-form-urlencoded"})
        return json.loads(issuer.getresponse().read())
    keys = ask("GET", "/.well-known/jwks.json")["keys"]
    made = [ask("POST", "/token", f"sub=user-{number:05}&aud=orders&scope=read+write")["access_token"] for number in range(count)]
    return made, keys


def wrk_script(folder, name, made):
    """A script that sends these tokens in turn."""
    (folder / f"{name}.txt").write_text("\n".join(made) + "\n")
    script = folder / f"{name}.lua"
    script.write_text(f'''
local requests, at = {{}}, 0
function init()
  for token in io.lines("{folder / name}.txt") do
    requests[#requests + 1] = wrk.format("GET", "/", {{ ["Authorization"] = "Bearer " .. token }})
  end
end
function request()
  at = at % #requests + 1
  return requests[at]
end
''')
    return script


def jwt(folder, rounds, running):
    """Figures by row: plain forwarding first, then tokens."""
    keys, scripts = [], {}
    for algorithm, port in ISSUERS.items():
        command = [ROOT / "target/release/mint-token", "serve", "--alg", algorithm, "--iss", "https://bench/", "--listen", f"127.0.0.1:{port}"]
        running.append(start(1, command, port))
        made, own = tokens(algorithm, NEW)
        keys += own
        scripts[f"{algorithm}, {REPEATED} in turn"] = wrk_script(folder, f"{algorithm}-repeated", made[:REPEATED])
        scripts[f"{algorithm}, always new"] = wrk_script(folder, f"{algorithm}-new", made)
    (folder / "jwks.json").write_text(json.dumps({"keys": keys}))
    plain = commands(folder, 0)["tollgate"]
    guarded = folder / "guarded.toml"
    text = (folder / "gateway.toml").read_text().replace(str(PORTS["tollgate"]), str(GUARDED["tollgate"]))
    guarded.write_text(text.replace('upstream = "u" }', 'upstream = "u", auth = "a" }') + '[auth.a]\nissuer = "https://bench/"\njwks_file = "jwks.json"\n')
    proxies = {"tollgate": (start(0, plain, PORTS["tollgate"]), PORTS["tollgate"], {"plain": None}),
               "tollgate, tokens": (start(0, [plain[0], "run", "--config", guarded], GUARDED["tollgate"]), GUARDED["tollgate"], scripts)}
    if shutil.which("envoy"):
        proxies["envoy"] = (start(0, envoy(folder, GUARDED["envoy plain"], False), GUARDED["envoy plain"]), GUARDED["envoy plain"], {"plain": None})
        proxies["envoy, tokens"] = (start(0, envoy(folder, GUARDED["envoy"], True), GUARDED["envoy"]), GUARDED["envoy"], scripts)
    running.extend(process for process, _, _ in proxies.values())
    figures = {}
    for _ in range(rounds):
        for name, (process, port, rows) in proxies.items():
            for row, script in rows.items():
                figures.setdefault((name.split(",")[0], row), []).append(microseconds(process, f"http://127.0.0.1:{port}/", script))
    base = figures[("tollgate", "plain")]
    print("| tokens | CPU µs per request, median (least to most) | × Tollgate plain | × own plain |\n|---|---|---|---|")
    for (proxy, row), values in figures.items():
        ratio = lambda others: statistics.median(own / other for own, other in zip(values, others))
        print(f"| {proxy}: {row} | {statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f}) | {ratio(base):.2f} | {ratio(figures[(proxy, 'plain')]):.2f} |")


def quartiles(values):
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    return f"{middle:+.2f} ({low:+.2f} to {high:+.2f})"


def added(scenario, rounds, only):
    """What a limit or a log adds, beside what those of others add: each proxy runs without and with one. A process keeps
    the places in memory that it began with, which is worth a tenth of a microsecond: each round has processes of its own,
    which take many short turns: what is looked for is less than what a second to the next brings."""
    peers = importlib.import_module(scenario)
    running, figures = [], {}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "origin").mkdir()
        (folder / "origin.conf").write_text(origin_conf(folder / "origin"))
        try:
            running.append(start(1, ["nginx", "-p", folder / "origin", "-c", folder / "origin.conf"], ORIGINS[0]))
            command, port = peers.beside(folder)
            if command:
                running.append(start(1, command, port))
            rows = [row for row in peers.rows(ROOT, folder, ORIGINS) if row[0].startswith(only)]
            beside = len(running)
            for _ in range(rounds):
                running.extend(start(0, command, port) for _, _, port, command in rows)
                for _, _, port, _ in rows:
                    load(f"http://127.0.0.1:{port}/")  # who has just begun is not ready at once
                for _ in range(TURNS):
                    pairs = list(zip(rows, running[beside:]))
                    for (row, _, port, _), process in random.sample(pairs, len(pairs)):  # who comes after whom must not count
                        figures.setdefault(row, []).append(briefly(process, f"http://127.0.0.1:{port}/"))
                while len(running) > beside:
                    running[-1].terminate()
                    running.pop().wait()
        finally:
            for process in running:
                process.terminate()
                process.wait()
    print(f"| {scenario} | CPU µs per request, median (least to most) | added, median (quartiles) | requests/s, median |\n|---|---|---|---|")
    for row, plain, *_ in rows:
        cpu = [cpu for cpu, _ in figures[row]]
        added = quartiles([own - other for (own, _), (other, _) in zip(figures[row], figures[plain])]) if plain else ""
        per_second = statistics.median(requests for _, requests in figures[row])
        print(f"| {row} | {statistics.median(cpu):.2f} ({min(cpu):.2f} to {max(cpu):.2f}) | {added} | {per_second:.0f} |")


def main():
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--rounds", type=int, default=5)
    flags.add_argument("--scenario", choices=["plain", "routes", "idle", "jwt", "limits", "log", *SIZES], default="plain")
    flags.add_argument("--only", default="", metavar="NAME", help="limits and log: the rows that begin with this")
    given = flags.parse_args()
    loads = ["h2load"] if given.scenario in ("limits", "log") else ["haproxy"]
    missing = [tool for tool in ("wrk", "nginx", "taskset", *loads) if not shutil.which(tool)]
    if missing:
        sys.exit("not installed: " + ", ".join(missing))
    if given.scenario in ("limits", "log"):
        return added(given.scenario, max(1, min(given.rounds, 50)), given.only)
    hits = given.scenario in SIZES
    ports, judge = (CACHES, "nginx") if hits else (PORTS, "haproxy")
    path = "/svc0500/x" if given.scenario == "routes" else f"/{given.scenario}" if hits else "/"
    running, figures = [], {}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)  # proxies that change to a user of their own read their configuration there
        (folder / "origin").mkdir()
        (folder / "origin.conf").write_text(origin_conf(folder / "origin"))
        try:
            running.append(start(1, ["nginx", "-p", folder / "origin", "-c", folder / "origin.conf"], ORIGINS[0]))
            if given.scenario == "jwt":
                return jwt(folder, max(1, min(given.rounds, 50)), running)
            wanted = caching(folder) if hits else commands(folder, 1000 if given.scenario == "routes" else 0)
            proxies = {proxy: start(0, command, ports[proxy]) for proxy, command in wanted.items()}
            figures.update({proxy: [] for proxy in proxies})
            running.extend(proxies.values())
            # Memory that is given back is used again, so only the first connections of a process tell what they cost.
            rounds = 1 if given.scenario == "idle" else max(1, min(given.rounds, 50))
            for _ in range(rounds):
                for proxy, process in proxies.items():
                    figure = idle_kib(process, ports[proxy]) if given.scenario == "idle" else \
                        microseconds(process, f"http://127.0.0.1:{ports[proxy]}{path}")
                    figures[proxy].append(figure)
        finally:
            for process in running:
                process.terminate()
                process.wait()
    unit = "KiB per idle connection" if given.scenario == "idle" else "CPU µs per request"
    print(f"| {given.scenario} | {unit}, median (least to most) | × {judge} |\n|---|---|---|")
    for proxy, values in figures.items():
        ratio = statistics.median(own / other for own, other in zip(values, figures[judge]))
        print(f"| {proxy} | {statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f}) | {ratio:.2f} |")


if __name__ == "__main__":
    main()
