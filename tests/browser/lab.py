"""A real JupyterLab server for tests, apart from any that the user runs."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
import psutil

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 90  # it takes 3 on an idle machine
STOP_SECONDS = 15

SETTINGS = {
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/docmanager-extension/plugin": {"autosave": False},  # no dialogue about a file changed on disk
    "@jupyterlab/notebook-extension/tracker": {
        "windowingMode": "none",  # every cell is in the page, also those out of sight
        "recordTiming": True,  # the times each cell took
        "scrollPastEnd": False,  # no empty screen below the last cell in screenshots
    },
}

# Runs in every kernel before the first cell: the lessons must work with the network off.
OFFLINE = """
def _offline():
    import os, sys

    def watch(event, arguments):
        if event not in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
            return
        address = arguments[0] if event == "socket.getaddrinfo" else arguments[-1]
        host = address[0] if isinstance(address, tuple) else address
        if isinstance(host, bytes):
            host = host.decode()
        inside = host is None or host in ("localhost", "::1", "") or host.startswith(("127.", "/", "\\0"))
        if not inside:
            with open(os.environ["METARULES_TEST_OUTSIDE"], "a") as file:
                file.write(f"{event} {address}\\n")
            raise OSError(f"no network in this test: {event} {address}")

    sys.addaudithook(watch)

_offline()
del _offline
"""
# A lesson drops most Figures when they are shown: `kept_figures` has them all, once matplotlib is imported.
KEPT_FIGURES = """
def _keep_figures():
    import sys
    from importlib.machinery import PathFinder

    class Keep:
        kept_figures = []

        @staticmethod
        def find_spec(name, path=None, target=None):
            spec = PathFinder.find_spec(name, path) if name == "matplotlib.figure" else None
            if spec is not None:
                load = spec.loader.exec_module

                def exec_module(module):
                    load(module)
                    make = module.Figure.__init__

                    def noted(self, *args, **options):
                        make(self, *args, **options)
                        Keep.kept_figures.append(self)

                    module.Figure.__init__ = noted

                spec.loader.exec_module = exec_module
            return spec

    sys.meta_path.insert(0, Keep)

_keep_figures()
del _keep_figures
"""


class LabServer:
    """JupyterLab on a free port of 127.0.0.1, everything it reads and writes below one temporary folder.

    Its notebooks are a copy of the repository's `notebooks/` and `figures/`, so that tests change nothing; its one
    kernel is the Python that runs the tests, with the repository importable, one numerical thread and no network.
    Use it as a context manager.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "root"  # what the file browser shows
        self.notebooks = self.root / "notebooks"
        self.token = secrets.token_hex(16)
        self.url = ""
        self._log = folder / "server.log"
        self._outside = folder / "outside.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> LabServer:
        self._write_files()
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def write_notebook(self, name: str, cells: Sequence[str]) -> None:
        """Put a notebook into the folder; cells that start with `#` and a blank are markdown."""
        make = nbformat.v4
        notebook = make.new_notebook(
            cells=[make.new_markdown_cell(c) if c.startswith("# ") else make.new_code_cell(c) for c in cells],
            metadata={"kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}},
        )
        nbformat.write(notebook, self.notebooks / name)

    def end_kernels(self) -> None:
        """Shut down every notebook's kernel."""
        for session in self.ask("GET", "api/sessions"):
            with contextlib.suppress(urllib.error.HTTPError):  # gone by itself
                self.ask("DELETE", f"api/sessions/{session['id']}")

    def outside_attempts(self) -> list[str]:
        """What kernels tried to reach beyond this machine, all of it in vain."""
        return self._outside.read_text().splitlines() if self._outside.exists() else []

    def ask(self, method: str, path: str) -> Any:
        """One request to the server's REST interface; the decoded answer or None."""
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=b"" if method == "POST" else None,
            headers={"Authorization": f"token {self.token}"},
        )
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # whatever proxy the machine has
        with direct.open(request, timeout=30) as answer:
            body = answer.read()
        return json.loads(body) if body else None

    def processes(self) -> list[psutil.Process]:
        """The server and all that it started."""
        if self._process is None:
            return []
        try:
            server = psutil.Process(self._process.pid)
            return [server, *server.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def stop(self) -> None:
        """End kernels and server, kindly at first; nothing that was started is left running."""
        if self._process is None:
            return
        family = self.processes()
        with contextlib.suppress(OSError, ValueError):  # it may not even have started
            self.ask("POST", "api/shutdown")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS if self.url else 0)
        _, left = psutil.wait_procs(family, timeout=2)
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()
        self._process = None

    def _write_files(self) -> None:
        self.root.mkdir(parents=True)
        for name in ("notebooks", "figures"):
            (self.root / name).mkdir()
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, self.root / name, ignore=shutil.ignore_patterns(".*"), dirs_exist_ok=True)
        for name, values in SETTINGS.items():
            _write_json(self.folder / "settings" / f"{name}.jupyterlab-settings", values)
        kernel = {
            "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            "display_name": "Python 3 (ipykernel)",
            "language": "python",
            "interrupt_mode": "signal",
            "metadata": {"debugger": False},
        }
        _write_json(self.folder / "data" / "kernels" / "python3" / "kernel.json", kernel)
        startup = self.folder / "ipython" / "profile_default" / "startup"
        startup.mkdir(parents=True)
        (startup / "offline.py").write_text(OFFLINE)
        (startup / "kept_figures.py").write_text(KEPT_FIGURES)

    def _environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "JPY_", "IPYTHON"))}
        own = {
            "JUPYTER_CONFIG_DIR": "config",
            "JUPYTER_DATA_DIR": "data",
            "JUPYTER_RUNTIME_DIR": "runtime",
            "JUPYTERLAB_SETTINGS_DIR": "settings",
            "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
            "IPYTHONDIR": "ipython",
        }
        kept |= {name: str(self.folder / directory) for name, directory in own.items()}
        kept |= {
            "JUPYTER_TOKEN": self.token,
            "METARULES_TEST_OUTSIDE": str(self._outside),
            "OMP_NUM_THREADS": "1",  # small models run slower with more, and sums come out in one order
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        }
        return kept

    def _start(self) -> None:
        command = [
            *(sys.executable, "-m", "jupyterlab", "--no-browser"),
            *("--ServerApp.ip=127.0.0.1", f"--ServerApp.port={_free_port()}", f"--ServerApp.root_dir={self.root}"),
            "--LabApp.expose_app_in_browser=True",  # as window.jupyterapp
            *("--LabApp.news_url=", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"),
            *("--LabApp.extension_manager=readonly", "--ServerApp.terminals_enabled=False"),
        ]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            command.append("--allow-root")  # it refuses root otherwise
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, env=self._environment(), stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self._process.poll() is None:
            with contextlib.suppress(OSError, StopIteration, ValueError):  # not yet there, half written, not answering
                found = next((self.folder / "runtime").glob("jpserver-*.json"))
                self.url = json.loads(found.read_text())["url"]
                self.ask("GET", "api/status")
                return
            time.sleep(0.1)
        raise RuntimeError(f"JupyterLab did not start; its log ends:\n{self._log.read_text()[-3000:]}")


def _free_port() -> int:
    """A port that is free now; if it is taken meanwhile, the server finds another and its runtime file says which."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _write_json(path: Path, values: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))
