"""The package as a stranger has it: a wheel, in an environment of its own, far from the repository."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

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
