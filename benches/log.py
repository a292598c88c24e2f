"""The peers of benches/side_by_side.py --scenario log: each without and with its access log, in a file that is kept."""
import pathlib

from limits import nginx, tollgate


def rows(root, folder, origins):
    """Name, the row that it is compared with, port and command of each."""
    makers = [("tollgate", None, lambda port, _: tollgate(root, port, origins, "plain")),
              ("tollgate, access log", "tollgate", lambda port, log: tollgate(root, port, origins, "plain", log)),
              ("nginx", None, lambda port, _: nginx(port, origins, False)),
              ("nginx, access log", "nginx", lambda port, log: nginx(port, origins, False, f"{log} combined buffer=64k"))]
    for at, (name, plain, make) in enumerate(makers):
        port = 8140 + at
        own = pathlib.Path(folder) / f"row{at}"
        own.mkdir()
        (own / "log").mkdir()
        file, text, command = make(port, own / "log" / "access.log")
        (own / file).write_text(text.replace("FOLDER", str(own)))
        yield name, plain, port, command(own)


def beside(_folder):
    """Nothing else has to run."""
    return None, None
