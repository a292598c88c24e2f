"""The peers of benches/side_by_side.py --scenario limits: each without and with its own limit by client, and Tollgate with
one in Redis. The limits are so high that nothing is refused: what is measured is what a passed check costs."""
import os, pathlib, shutil

# Beside $PATH, where programs that no package has are put.
EXTRA = os.environ.get("PEERS", "/opt/peers/bin")
REDIS = 9111


def find(program):
    return shutil.which(program) or shutil.which(program, path=EXTRA)


def tollgate(root, port, origins, limit, log="off"):
    addresses = ", ".join(f'"127.0.0.1:{origin}"' for origin in origins)
    # Redis counts no more than a million a second.
    tables = {"plain": "", "local": '[rate_limits.a]\nrate = "1000000/s"\n',
              "silent": '[rate_limits.a]\nrate = "1000000/s"\nheaders = "off"\n',
              "redis": f'[rate_limits.a]\nrate = "1000000/s"\nstore = "redis"\n[redis]\nurl = "redis://127.0.0.1:{REDIS}/0"\n'}[limit]
    uses = 'rate_limit = "a"\n' if tables else ""
    text = (f'[[routes]]\nprefix = "/"\nupstream = "u"\n{uses}[server]\nlisten = ["127.0.0.1:{port}"]\nworkers = 1\n'
            f'[admin]\nlisten = "off"\n[log]\naccess = "{log}"\n[upstreams.u]\naddresses = [{addresses}]\nmax_idle = 256\n{tables}')
    return "gateway.toml", text, lambda folder: [root / "target/release/tollgate", "run", "--config", folder / "gateway.toml"]


def nginx(port, origins, limit, log="off"):
    servers = " ".join(f"server 127.0.0.1:{origin};" for origin in origins)
    zone, use = ("limit_req_zone $binary_remote_addr zone=z:10m rate=1000000r/s;", "limit_req zone=z burst=100000 nodelay;") if limit else ("", "")
    text = ("daemon off; worker_processes 1; pid FOLDER/pid; error_log FOLDER/error;\nevents { worker_connections 8192; }\n"
            f"http {{ access_log {log}; keepalive_requests 100000000; {zone}\n"
            f"upstream u {{ keepalive 256; keepalive_requests 100000000; {servers} }}\n"
            f"server {{ listen 127.0.0.1:{port}; location / {{ {use} proxy_pass http://u; proxy_http_version 1.1;"
            " proxy_set_header Connection ''; proxy_set_header X-Forwarded-For $remote_addr; } } }\n")
    return "nginx.conf", text, lambda folder: ["nginx", "-p", folder, "-c", folder / "nginx.conf"]


def envoy(port, origins, limit):
    endpoints = "".join(
        f"        - endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {origin} }} }} }}\n" for origin in origins)
    local = ("          - name: envoy.filters.http.local_ratelimit\n"
             "            typed_config:\n"
             "              '@type': type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit\n"
             "              stat_prefix: a\n"
             "              token_bucket: { max_tokens: 1000000, tokens_per_fill: 1000000, fill_interval: 1s }\n"
             "              filter_enabled: { default_value: { numerator: 100, denominator: HUNDRED } }\n"
             "              filter_enforced: { default_value: { numerator: 100, denominator: HUNDRED } }\n") if limit else ""
    text = ("static_resources:\n  listeners:\n  - address: { socket_address: { address: 127.0.0.1, port_value: %d } }\n"
            "    filter_chains:\n    - filters:\n      - name: envoy.filters.network.http_connection_manager\n        typed_config:\n"
            "          '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager\n"
            "          stat_prefix: a\n"
            "          route_config: { virtual_hosts: [ { name: a, domains: ['*'], routes: [ { match: { prefix: / }, route: { cluster: u } } ] } ] }\n"
            "          http_filters:\n%s"
            "          - name: envoy.filters.http.router\n"
            "            typed_config: { '@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }\n"
            "  clusters:\n  - name: u\n    type: STATIC\n    load_assignment:\n      cluster_name: u\n      endpoints:\n      - lb_endpoints:\n%s"
            ) % (port, local, endpoints)
    return "envoy.yaml", text, lambda folder: [find("envoy"), "-c", folder / "envoy.yaml", "--concurrency", "1", "-l", "error", "--disable-hot-restart"]


def traefik(port, origins, limit):
    servers = "".join(f"          - url: http://127.0.0.1:{origin}\n" for origin in origins)
    use = "      middlewares: [a]\n" if limit else ""
    middleware = "  middlewares:\n    a:\n      rateLimit: { average: 1000000, burst: 1000000, period: 1s }\n" if limit else ""
    text = ("http:\n  routers:\n    a:\n      rule: PathPrefix(`/`)\n      service: u\n" + use + middleware +
            "  services:\n    u:\n      loadBalancer:\n        servers:\n" + servers)
    entry = f"--entryPoints.web.address=127.0.0.1:{port}"
    return "dynamic.yaml", text, lambda folder: [
        "env", "GOMAXPROCS=1", find("traefik"), entry, f"--providers.file.filename={folder}/dynamic.yaml", "--log.level=ERROR",
        "--global.checkNewVersion=false", "--global.sendAnonymousUsage=false"]


def rows(root, folder, origins):
    """Name, the row that it is compared with, port and command of each; those that are not installed are left out."""
    makers = [("tollgate", None, lambda port: tollgate(root, port, origins, "plain")),
              ("tollgate, local", "tollgate", lambda port: tollgate(root, port, origins, "local")),
              ("tollgate, local, nobody is told", "tollgate", lambda port: tollgate(root, port, origins, "silent")),
              ("tollgate, redis", "tollgate", lambda port: tollgate(root, port, origins, "redis")),
              ("nginx", None, lambda port: nginx(port, origins, False)),
              ("nginx, limit_req", "nginx", lambda port: nginx(port, origins, True)),
              ("envoy", None, lambda port: envoy(port, origins, False)),
              ("envoy, local_ratelimit", "envoy", lambda port: envoy(port, origins, True)),
              ("traefik", None, lambda port: traefik(port, origins, False)),
              ("traefik, rateLimit", "traefik", lambda port: traefik(port, origins, True))]
    for at, (name, plain, make) in enumerate(makers):
        program = name.split(",")[0]
        if program != "tollgate" and not find(program) or name.endswith("redis") and not find("redis-server"):
            print(f"not installed: {name}")
            continue
        port = 8140 + at
        file, text, command = make(port)
        own = pathlib.Path(folder) / f"row{at}"
        own.mkdir()
        (own / file).write_text(text.replace("FOLDER", str(own)))
        yield name, plain, port, command(own)


def beside(folder):
    """The Redis that a row is counted in, and its port."""
    return ["redis-server", "--port", str(REDIS), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(folder)], REDIS
