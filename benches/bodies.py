#!/usr/bin/env python3
"""CPU time per response by the size of its body, forwarded and from the cache: of Tollgate, HAProxy and nginx, and of
another build of Tollgate where one is named, side by side on this machine.

    apt-get install wrk haproxy nginx-light
    cargo build --release && benches/bodies.py [--rounds 5] [--binary FILE] [--against FILE] [--kind forwarded|hit] [--sizes 100,1024,...]

One worker on core 0, the load and the origin on core 1; the proxies take turns, round by round, and what is counted is
what `side_by_side.py` counts. HAProxy's buffers are of 16 KiB, and nginx's files in the page cache, as both come.
"""
import argparse, pathlib, statistics, tempfile

from side_by_side import ROOT, microseconds, nginx_conf, start

ORIGIN = 9111
SIZES = [100, 1 << 10, 16 << 10, 64 << 10, 1 << 20]
NAMES = {100: "100 B", 1 << 10: "1 KiB", 16 << 10: "16 KiB", 64 << 10: "64 KiB", 1 << 20: "1 MiB"}
KINDS = ["forwarded", "hit"]


def tollgate(folder, binary, port, kind):
    file = folder / f"{port}.toml"
    file.write_text(
        f'[server]\nlisten = ["127.0.0.1:{port}"]\nworkers = 1\n[admin]\nlisten = "off"\n[log]\naccess = "off"\n'
        f'[upstreams.u]\naddresses = ["127.0.0.1:{ORIGIN}"]\nmax_idle = 256\n'
        f'[[routes]]\nprefix = "/"\nupstream = "u"\ncache = {"true" if kind == "hit" else "false"}\n')
    return [binary, "run", "--config", file]


def haproxy(folder, port, kind):
    file = folder / f"{port}.cfg"
    cache = " http-request cache-use c\n http-response cache-store c\n" if kind == "hit" else ""
    file.write_text(
        "global\n nbthread 1\ncache c\n total-max-size 64\n max-object-size 2097152\n max-age 3600\n"
        "defaults\n mode http\n option http-keep-alive\n http-reuse always\n timeout connect 5s\n timeout client 60s\n"
        f" timeout server 60s\n maxconn 4000\nfrontend f\n bind 127.0.0.1:{port}\n default_backend b\n"
        f"backend b\n{cache} server s 127.0.0.1:{ORIGIN}\n")
    return ["haproxy", "-db", "-f", file]


def nginx(folder, port, kind):
    own = folder / f"nginx-{port}"
    own.mkdir()
    own.chmod(0o755)
    cache = " proxy_cache kept;" if kind == "hit" else " proxy_buffering on; proxy_max_temp_file_size 0;"
    (own / "nginx.conf").write_text(nginx_conf(own, (
        f"proxy_cache_path {own}/kept keys_zone=kept:16m;\nsendfile on; tcp_nopush on; open_file_cache max=100;\n"
        f"upstream u {{ keepalive 256; keepalive_requests 100000000; server 127.0.0.1:{ORIGIN}; }}\n"
        f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://u; proxy_http_version 1.1;"
        f" proxy_set_header Connection '';{cache} }} }}\n")))
    return ["nginx", "-p", own, "-c", own / "nginx.conf"]


def origin(folder, sizes):
    own = folder / "origin"
    own.mkdir()
    own.chmod(0o755)
    for size in sizes:
        (own / str(size)).write_bytes(b"x" * size)
    (own / "nginx.conf").write_text(nginx_conf(own, (
        f"sendfile on; open_file_cache max=100;\nserver {{ listen 127.0.0.1:{ORIGIN}; root {own};"
        " add_header Cache-Control 'public, max-age=3600'; }\n")))
    return ["nginx", "-p", own, "-c", own / "nginx.conf"]


def main():
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--rounds", type=int, default=5)
    flags.add_argument("--binary", type=pathlib.Path, default=ROOT / "target/release/tollgate")
    flags.add_argument("--against", type=pathlib.Path, help="another build")
    flags.add_argument("--kind", choices=KINDS, action="append")
    flags.add_argument("--sizes", type=lambda text: [int(size) for size in text.split(",")], default=SIZES)
    given = flags.parse_args()
    running = []
    print("| body | proxy | CPU µs per request, median (least to most) | × tollgate |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)
        try:
            running.append(start(1, origin(folder, given.sizes), ORIGIN))
            for kind in given.kind or KINDS:
                port = 8140 + 5 * KINDS.index(kind)
                commands = {"tollgate": tollgate(folder, given.binary, port, kind)}
                if given.against:
                    commands["tollgate before"] = tollgate(folder, given.against, port + 1, kind)
                commands |= {"haproxy": haproxy(folder, port + 2, kind), "nginx": nginx(folder, port + 3, kind)}
                ports = dict(zip(commands, [port, port + 1, port + 2, port + 3] if given.against else [port, port + 2, port + 3]))
                proxies = {}
                for proxy, command in commands.items():
                    proxies[proxy] = start(0, command, ports[proxy])
                    running.append(proxies[proxy])
                for size in given.sizes:
                    figures = {proxy: [] for proxy in proxies}
                    for _ in range(max(1, min(given.rounds, 50))):
                        for proxy, process in proxies.items():
                            figures[proxy].append(microseconds(process, f"http://127.0.0.1:{ports[proxy]}/{size}"))
                    for proxy, values in figures.items():
                        ratio = statistics.median(value / own for value, own in zip(values, figures["tollgate"]))
                        print(f"| {kind}, {NAMES.get(size, size)} | {proxy} | {statistics.median(values):.2f}"
                              f" ({min(values):.2f} to {max(values):.2f}) | {ratio:.2f} |", flush=True)
        finally:
            for process in running:
                process.terminate()
                process.wait()


if __name__ == "__main__":
    main()
