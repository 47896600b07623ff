"""The package as a stranger has it: a wheel, in an environment of its own, far from the repository."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
import urllib.request
import venv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
# What stands for the registry: these tests install nothing but the wheel itself.
OWN = ("metarules", "_editable_impl_metarules", "__editable__")
# As sitecustomize.py: Python without a network.
OFFLINE = """
import sys

def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        host = arguments[0] if event == "socket.getaddrinfo" else arguments[-1]
        host = host[0] if isinstance(host, tuple) else host
        host = host.decode() if isinstance(host, bytes) else host
        if host not in (None, "", "localhost", "::1") and not host.startswith(("127.", "/", "\\0")):
            raise OSError(f"no network in this test: {event} {host}")

sys.addaudithook(refuse)
"""


def build_wheel(folder: Path) -> Path:
    """The wheel of this tree, built without a network by the backend that the tests ask for anyway."""
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-build-isolation", "--no-deps", "-w", str(folder)]
    subprocess.run([*command, str(ROOT)], check=True, capture_output=True, text=True)
    (wheel,) = folder.glob("metarules-*.whl")
    return wheel


def empty_environment(folder: Path) -> Path:
    """An environment that has what metarules stands on, by links to what is installed here, and no metarules.

    Returns:
        Its Python.
    """
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    packages = folder / "linked-packages"
    packages.mkdir()
    for site in map(Path, sys.path):
        for found in sorted(site.iterdir()) if site.name == "site-packages" and site.is_dir() else ():
            link = packages / found.name
            if not (found.name.startswith(OWN) or found.suffix == ".pth" or link.exists()):
                link.symlink_to(found, target_is_directory=found.is_dir())
    share = folder / "share"
    share.mkdir(exist_ok=True)
    (share / "jupyter").symlink_to(Path(sys.prefix) / "share" / "jupyter", target_is_directory=True)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    (site_packages(python) / "linked.pth").write_text(str(packages) + "\n", encoding="utf-8")
    return python


def site_packages(python: Path) -> Path:
    """Where an environment's own packages are."""
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    return Path(subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip())


def pip_install(python: Path, *words: str, env: dict[str, str] | None = None) -> None:
    """Install into an environment, from nowhere but this machine."""
    command = [str(python), "-m", "pip", "install", "-q", "--no-index", "--no-build-isolation", *words]
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr


def plain_environment(**more: str) -> dict[str, str]:
    """This process's environment variables without what would show the repository to a child."""
    hidden = ("PYTHONPATH", "VIRTUAL_ENV", "JUPYTER_PATH")
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    return {**kept, "OMP_NUM_THREADS": "1", **more}


def cut_off(folder: Path) -> dict[str, str]:
    """Environment variables without a network, and with a home that cannot be written, not even by root."""
    (folder / "offline").mkdir()
    (folder / "offline" / "sitecustomize.py").write_text(OFFLINE, encoding="utf-8")
    (folder / "file").touch()
    home = str(folder / "file" / "home")
    return plain_environment(PYTHONPATH=str(folder / "offline"), HOME=home, USERPROFILE=home)


@contextlib.contextmanager
def started_lab(
    words: Sequence[str], cwd: Path, env: Mapping[str, str], log: Path
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A command that opens JupyterLab, and the address that it says; all of it is ended behind."""
    options = ["--no-browser", "--ServerApp.port_retries=50"]
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*words, *options], cwd=cwd, env=dict(env), stdout=file, stderr=file, start_new_session=True
        )
    try:
        end, address = time.monotonic() + 240, None
        while address is None:
            said = log.read_text(encoding="utf-8", errors="replace")
            assert process.poll() is None and time.monotonic() < end, said[-3000:]
            address = re.search(r"http://127\.0\.0\.1:\d+/lab\S*\?token=\w+", said)
            time.sleep(0.2)
        yield process, address[0]
    finally:
        for child in [*psutil.Process(process.pid).children(recursive=True), process] if process.poll() is None else []:
            child.kill()
        process.wait()


def serves(address: str, path: str) -> bool:
    """Whether the JupyterLab at an address has a file."""
    base, token = address.partition("/lab")[0], address.partition("?token=")[2]
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(f"{base}/api/contents/{path}?content=0&token={token}", timeout=60) as answer:
        return bool(answer.status == 200)
