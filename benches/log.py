"""The peers of benches/side_by_side.py --scenario log: each without and with its access log, in a file that is kept."""
import pathlib


def tollgate(root, port, origins, log):
    addresses = ", ".join(f'"127.0.0.1:{origin}"' for origin in origins)
    text = (f'[[routes]]\nprefix = "/"\nupstream = "u"\n[server]\nlisten = ["127.0.0.1:{port}"]\nworkers = 1\n'
            f'[admin]\nlisten = "off"\n[log]\naccess = "{log or "off"}"\n[upstreams.u]\naddresses = [{addresses}]\nmax_idle = 256\n')
    return "gateway.toml", text, lambda folder: [root / "target/release/tollgate", "run", "--config", folder / "gateway.toml"]


def nginx(port, origins, log):
    servers = " ".join(f"server 127.0.0.1:{origin};" for origin in origins)
    text = ("daemon off; worker_processes 1; pid FOLDER/pid; error_log FOLDER/error;\nevents { worker_connections 8192; }\n"
            f"http {{ access_log {f'{log} combined buffer=64k' if log else 'off'}; keepalive_requests 100000000;\n"
            f"upstream u {{ keepalive 256; keepalive_requests 100000000; {servers} }}\n"
            f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://u; proxy_http_version 1.1;"
            " proxy_set_header Connection ''; proxy_set_header X-Forwarded-For $remote_addr; } } }\n")
    return "nginx.conf", text, lambda folder: ["nginx", "-p", folder, "-c", folder / "nginx.conf"]


def rows(root, folder, origins):
    """Name, the row that it is compared with, port and command of each."""
    makers = [("tollgate", None, lambda port, _: tollgate(root, port, origins, None)),
              ("tollgate, access log", "tollgate", lambda port, log: tollgate(root, port, origins, log)),
              ("nginx", None, lambda port, _: nginx(port, origins, None)),
              ("nginx, access log", "nginx", lambda port, log: nginx(port, origins, log))]
    for at, (name, plain, make) in enumerate(makers):
        port = 8140 + at
        own = pathlib.Path(folder) / f"row{at}"
        own.mkdir()
        file, text, command = make(port, own / "access.log")
        (own / file).write_text(text.replace("FOLDER", str(own)))
        yield name, plain, port, command(own)


def beside(_folder):
    """Nothing else has to run."""
    return None, None
