#!/usr/bin/env python3
"""Instructions per forwarded request, what the log and traces add to them, and what bodies of different sizes take,
forwarded and from the cache.

    apt-get install valgrind
    cargo build --profile profiling && benches/instructions.py [--requests 2000] [--binary FILE] [VARIANT...]

The gateway runs under callgrind with one worker, and is sent a few hundred requests over one connection to warm up; then
it is counted what so many more take, on all of its threads. That hardly depends on what else the machine does, and sees
nothing of the kernel. Loopback only; each run ends by itself.
"""
import argparse, http.server, pathlib, re, socket, subprocess, sys, tempfile, threading, time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARY = ROOT / "target/profiling/tollgate"
GATEWAY, BACKEND, COLLECTOR = 8130, 8131, 8132
WARM = 300

OFF = '[log]\naccess = "off"\n'
LOG = '[log]\naccess = "/dev/null"\n'
TEXT = '[log]\naccess = "/dev/null"\nformat = "text"\n'
TENTH = '[log]\naccess = "/dev/null"\nsample = 0.1\n'


def traces(keys):
    return f'{OFF}[tracing]\notlp = "http://127.0.0.1:{COLLECTOR}"\n{keys}\n'


SIZES = {"100 B": 100, "1 KiB": 1 << 10, "16 KiB": 16 << 10, "64 KiB": 64 << 10, "1 MiB": 1 << 20}
VARIANTS = {
    "no log, no traces": OFF,
    "access log, JSON": LOG,
    "access log, text": TEXT,
    "access log, a tenth of the lines": TENTH,
    "traces, none recorded": traces("sample = 0"),
    "traces, 1 % recorded": traces("sample = 0.01"),
    "traces, 1 % and errors": traces("sample = 0.01\nerrors = true"),
    "traces, all recorded": traces("sample = 1"),
    **{f"forwarded, {size}": OFF for size in SIZES},
    **{f"hit, {size}": OFF for size in SIZES},
}


class Sink(http.server.BaseHTTPRequestHandler):
    """A collector that takes everything, and an upstream whose bodies are as long as their path says."""
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        body = b"x" * int(self.path.rsplit("/", 1)[1])
        head = f"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncache-control: max-age=3600\r\ncontent-length: {len(body)}\r\n\r\n"
        self.wfile.write(head.encode() + body)

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def connect(port):
    for _ in range(600):
        try:
            return socket.create_connection(("127.0.0.1", port), 60)
        except OSError:
            time.sleep(0.1)
    sys.exit(f"nobody serves on port {port}")


def ask(stream, path, requests):
    """Sends so many requests over one connection, one after the other."""
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    request = f"GET {path} HTTP/1.1\r\nhost: api.example.com\r\nuser-agent: bench\r\naccept: */*\r\n\r\n".encode()
    for _ in range(requests):
        stream.sendall(request)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += stream.recv(65536)
        length = int(re.search(rb"content-length: (\d+)", answer, re.I).group(1))
        body = len(answer.split(b"\r\n\r\n", 1)[1])
        while body < length:
            body += len(stream.recv(65536))


def control(folder, gateway, order):
    """Orders callgrind about; it acts when the program does something next, which its timers see to."""
    subprocess.run(["callgrind_control", order, str(gateway.pid)], cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def instructions(binary, name, requests):
    kind, _, size = name.partition(", ")
    path, backend = (f"/{SIZES[size]}", COLLECTOR) if size in SIZES else ("/orders/1?page=2", BACKEND)
    route = "cache = true\n" if kind == "hit" else ""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "gateway.toml").write_text(
            f'[server]\nlisten = ["127.0.0.1:{GATEWAY}"]\nworkers = 1\n[admin]\nlisten = "off"\n'
            f'[upstreams.u]\naddresses = ["127.0.0.1:{backend}"]\n{VARIANTS[name]}[[routes]]\nprefix = "/"\nupstream = "u"\n{route}')
        out = folder / "counted"
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", binary, "run", "--config", folder / "gateway.toml"]
        gateway = subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            with connect(GATEWAY) as stream:
                ask(stream, path, WARM)
                control(folder, gateway, "--zero")
                ask(stream, path, requests)
                control(folder, gateway, "--dump")
        finally:
            gateway.kill()
            gateway.wait()
        dump = pathlib.Path(f"{out}.1").read_text()
        return int(re.search(r"^(?:summary|totals): (\d+)", dump, re.M).group(1)) / requests


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--binary", type=pathlib.Path, default=BINARY)
    parser.add_argument("variants", nargs="*", help="those whose names have this in them")
    arguments = parser.parse_args()
    binary = arguments.binary
    sink = http.server.ThreadingHTTPServer(("127.0.0.1", COLLECTOR), Sink)
    threading.Thread(target=sink.serve_forever, daemon=True).start()
    backend = subprocess.Popen([binary, "hello", "--listen", f"127.0.0.1:{BACKEND}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        connect(BACKEND).close()
        first = None
        print("| variant | instructions per request | more than the first |\n|---|---|---|")
        for name in VARIANTS:
            if arguments.variants and first is not None and not any(part in name for part in arguments.variants):
                continue
            each = instructions(binary, name, arguments.requests)
            first = first or each
            print(f"| {name} | {each:,.0f} | {each - first:+,.0f} ({(each / first - 1) * 100:+.1f} %) |", flush=True)
    finally:
        backend.terminate()
        sink.shutdown()


if __name__ == "__main__":
    main()
