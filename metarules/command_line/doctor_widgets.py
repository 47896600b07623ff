"""Why widgets show nothing: the page's part of them, which JupyterLab loads, and the kernel's part."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# the extension of JupyterLab that shows widgets -> the package that brings it
EXTENSIONS = {"@jupyter-widgets/jupyterlab-manager": "jupyterlab_widgets", "anywidget": "anywidget"}
KERNEL_SECONDS = 60.0  # it takes 2 on an idle machine
PROBE = """
import json, sys
import ipywidgets, metarules
ipywidgets.IntSlider()
print(json.dumps([sys.executable, sys.prefix, metarules.__version__]))
"""


def widgets(facts: list[tuple[str, str]], troubles: list[str]) -> None:
    """Whether JupyterLab of this Python has what shows widgets in the page."""
    if find_spec("jupyterlab") is None:
        return  # said among the requirements
    from jupyter_core.paths import jupyter_config_path, jupyter_path

    folders, off = jupyter_path("labextensions"), disabled(jupyter_config_path())
    for name, package in EXTENSIONS.items():
        again = f"pip install --force-reinstall --no-deps {package}, then load the page again"
        found = next((folder for folder in folders if (Path(folder) / name / "package.json").is_file()), None)
        if found is None:
            troubles.append(f"Widgets show nothing in JupyterLab, since its extension {name} is missing: {again}.")
        elif name in off:
            troubles.append(
                f"Widgets show nothing in JupyterLab, since its extension {name} is disabled by {off[name]}: "
                f"jupyter labextension enable {name}, then load the page again."
            )
        else:
            about = json.loads((Path(found) / name / "package.json").read_text(encoding="utf-8"))
            facts.append((f"in the page: {name.rpartition('/')[2]}", f"{about.get('version')}, {found}"))


def disabled(config_path: list[str]) -> dict[str, Path]:
    """Extensions of JupyterLab that are switched off -> the file that does it."""
    found: dict[str, Path] = {}
    for folder in config_path:
        path = Path(folder) / "labconfig" / "page_config.json"
        try:
            names: Any = json.loads(path.read_text(encoding="utf-8")).get("disabledExtensions", {})
        except (OSError, ValueError, AttributeError):
            continue
        on = [name for name, is_off in names.items() if is_off] if isinstance(names, dict) else list(names)
        found |= {name.partition(":")[0]: path for name in on if ":" not in name}
    return found


def kernel(facts: list[tuple[str, str]], troubles: list[str]) -> None:
    """Whether the kernel that runs the lessons is this Python, and whether a widget made there reaches the page."""
    if find_spec("jupyter_client") is None:
        return  # said among the requirements
    from jupyter_core.paths import jupyter_runtime_dir

    try:
        os.makedirs(jupyter_runtime_dir(), exist_ok=True)
        with tempfile.TemporaryFile(dir=jupyter_runtime_dir()):
            pass
    except OSError:
        troubles.append(
            f"{jupyter_runtime_dir()} cannot be written, so that no kernel starts: set JUPYTER_RUNTIME_DIR to another "
            "folder, or start lessons by `metarules lab`, which does."
        )
        return
    began = time.monotonic()
    try:
        messages = probe()
    except Exception as error:
        troubles.append(f"The kernel python3, which runs the lessons, did not answer ({error}): reinstall ipykernel.")
        return
    failed = [m["content"]["evalue"] for m in messages if m["msg_type"] == "error"]
    said = "".join(m["content"]["text"] for m in messages if m["msg_type"] == "stream")
    if failed or not said:
        other = "; is it another Python's? `python -m ipykernel install --sys-prefix` makes it this one"
        troubles.append(f"The kernel python3 cannot run lessons ({''.join(failed) or 'it says nothing'}){other}.")
        return
    executable, prefix, version = json.loads(said.splitlines()[-1])
    facts.append(("kernel python3", f"{executable}, metarules {version}, in {time.monotonic() - began:.1f} s"))
    if Path(prefix).resolve() != Path(sys.prefix).resolve():
        troubles.append(
            f"The kernel python3 is another Python ({executable}) than this one: `python -m ipykernel install "
            "--sys-prefix`, run by this Python, makes it this one."
        )
    opened = [m for m in messages if m["msg_type"] == "comm_open" and m["content"]["target_name"] == "jupyter.widget"]
    if opened:
        facts.append(("widgets of the kernel", "reach the page"))
    else:
        troubles.append(
            "A widget made in the kernel tells the page nothing: its ipywidgets and ipykernel do not fit together "
            "(pip install --upgrade ipywidgets ipykernel)."
        )


def probe() -> list[dict[str, Any]]:
    """All that a fresh kernel sends while it runs `PROBE`.

    Raises:
        RuntimeError, TimeoutError, OSError: it could not be started, or did not answer in time.
    """
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(startup_timeout=KERNEL_SECONDS, kernel_name="python3", stderr=subprocess.DEVNULL)
    try:
        asked, messages = client.execute(PROBE), []
        while True:
            message = client.get_iopub_msg(timeout=KERNEL_SECONDS)
            if message["parent_header"].get("msg_id") != asked:
                continue
            messages.append(message)
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                return messages
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
