"""The command `metarules`: words, help, exit codes, copies of lessons, what export writes, what the doctor finds."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import metarules
from metarules import command_line
from metarules.command_line import COMMANDS, doctor, doctor_widgets, lab, lessons, main
from metarules.command_line.completion import bash, fish, options_of
from metarules.tasks.own_data.asked import MAX_BYTES

Capture = pytest.CaptureFixture[str]


def said(capsys: Capture, *words: str) -> tuple[int, str, str]:
    status = main(words)
    return status, *capsys.readouterr()


# ---- words


def test_help_names_every_command_and_ends_well(capsys: Capture):
    status, out, _ = said(capsys, "--help")
    assert status == 0 and all(f"  {name} " in out for name in COMMANDS)
    assert (
        said(capsys, "--version", "please")[:2]
        == said(capsys, "--version")[:2]
        == (0, f"metarules {metarules.__version__}\n")
    )


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits_into_80_columns(command: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "80")
    status, out, _ = said(capsys, *filter(None, [command]), "--help")
    assert status == 0 and f"metarules {command}".strip() in out
    assert [line for line in out.splitlines() if len(line) > 80] == []
    assert [line for line in out.splitlines() if re.search(r"\w-$", line)] == []  # what is copied is in one piece


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (["evalute"], "(nearest: 'evaluate')"),
        (["doctr"], "(nearest: 'doctor')"),
        (["--verson"], "(nearest: '--version')"),
        (["evaluate", "--ruel", "local"], "(nearest: '--rule')"),
        (["evaluate", "--rule", "locl"], "(nearest: 'local')"),
        (["evaluate", "--data", "digts"], "(nearest: 'digits')"),
        (["evaluate", "--baselines", "pca_23"], "(nearest: 'pca_32')"),
        (["train", "--preset", "laptp", "--out", "x"], "(nearest: 'laptop')"),
        (["train", "--out", "x", "--partcles", "3"], "--particles"),
        (["train", "--kind", "lcal", "--out", "x"], "(nearest: 'local')"),
        (["grid", "--rule", "locl"], "(nearest: 'local')"),
        (["grid", "--rule", "none.safetensors"], "--rule: name_or_path is 'none.safetensors'"),
        (["grid", "--widht", "8"], "(nearest: '--width')"),
        (["evaluate", "--against", "qick"], "(nearest: 'quick')"),
        (["completion", "bsh"], "(nearest: 'bash')"),
        (["lab", "--copy-onyl"], "(nearest: '--copy-only')"),
        (["lab", "mine", "more", "--copy-only"], "unknown: more"),
        (["export", "x.cvs"], "(nearest: '.csv')"),
        (["import-tf", "x.zip", "--nam", "mine"], "(nearest: '--name')"),
        (["doctor", "--quik"], "(nearest: '--quick')"),
    ],
    ids=" ".join,
)
def test_a_mistyped_word_is_answered_with_the_nearest_and_status_2(words: list[str], near: str, capsys: Capture):
    status, out, err = said(capsys, *words)
    assert (status, out) == (2, "") and near in err


def test_no_word_is_status_2_and_names_the_commands(capsys: Capture):
    status, _, err = said(capsys)
    assert status == 2 and all(name in err for name in COMMANDS)


def test_an_interrupt_is_status_130(capsys: Capture, monkeypatch: pytest.MonkeyPatch):
    def interrupted(*_: Any, **__: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "main", interrupted)
    assert said(capsys, "doctor")[0] == 130


def test_an_interrupt_ends_completion_while_it_asks_a_command_for_its_options(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
):
    def interrupted(*_: Any, **__: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(lab, "main", interrupted)
    assert said(capsys, "completion", "bash")[:2] == (130, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a file that is always full")
def test_a_full_disk_is_a_sentence_and_status_1():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "metarules", "--help"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 1 and done.stderr.startswith("error: "), done.stderr


def test_help_of_a_command_by_either_word(capsys: Capture):
    assert said(capsys, "help", "doctor") == said(capsys, "doctor", "--help")
    assert said(capsys, "help") == said(capsys, "--help")


def test_a_command_keeps_its_own_status(capsys: Capture, tmp_path: Path):
    assert said(capsys, "import-tf", str(tmp_path / "none.zip"))[0] == 1


def test_python_m_metarules_is_the_same_command():
    done = subprocess.run([sys.executable, "-m", "metarules", "evalute"], capture_output=True, text=True)
    assert done.returncode == 2 and "nearest: 'evaluate'" in done.stderr


def test_the_command_is_declared_and_starts_light():
    """`metarules --help` must not wait for torch."""
    code = "import sys; from metarules.command_line import main; main(['--help']); print({'torch'} & {*sys.modules})"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines()[-1] == "set()"


def test_completion_knows_commands_and_options():
    words = {name: options_of(name) for name in COMMANDS}
    assert "--labels-per-class" in words["evaluate"] and "--rule.channels" in words["train"]
    assert "complete -c metarules" in fish(words)
    if shell := shutil.which("bash"):
        ask = 'COMP_WORDS=(metarules evaluate --lab); COMP_CWORD=2; _metarules; echo "${COMPREPLY[@]}"'
        answer = subprocess.run([shell, "-c", f"{bash(words)}\n{ask}"], capture_output=True, text=True, check=True)
        assert answer.stdout.split() == ["--labels-per-class"]


# ---- lessons


@pytest.fixture
def edition(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of two small lessons that a test can renew."""
    source = tmp_path / "package"
    source.mkdir()
    for name in ("00_a.ipynb", "01_b.ipynb"):
        (source / name).write_text("first edition", encoding="utf-8")
    monkeypatch.setattr(lessons, "lessons_folder", lambda: source)
    return source


def texts(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.ipynb"))}


def test_lessons_of_the_package_are_copied_to_a_folder_with_a_blank_and_an_accent(tmp_path: Path):
    folder = tmp_path / "meine Übungen" / "2"
    copies = lessons.copy_lessons(folder)
    assert list(copies.new) == lessons.lesson_names() and "00_start_here.ipynb" in copies.new
    assert texts(folder) == texts(lessons.lessons_folder())
    assert lessons.copy_lessons(folder) == lessons.Copies((), (), (), ())


def test_a_changed_lesson_is_kept_and_the_new_edition_put_beside_it(edition: Path, tmp_path: Path):
    folder = tmp_path / "mine"
    lessons.copy_lessons(folder)
    (folder / "00_a.ipynb").write_text("hers", encoding="utf-8")
    assert lessons.copy_lessons(folder) == lessons.Copies((), (), ("00_a.ipynb",), ())  # no new edition, none beside
    for name in texts(edition):
        (edition / name).write_text("second edition", encoding="utf-8")
    beside = f"00_a-{metarules.__version__}.ipynb"
    assert lessons.copy_lessons(folder) == lessons.Copies((), ("01_b.ipynb",), ("00_a.ipynb",), (beside,))
    assert texts(folder) == {"00_a.ipynb": "hers", beside: "second edition", "01_b.ipynb": "second edition"}
    (folder / beside).write_text("hers too", encoding="utf-8")
    (edition / "00_a.ipynb").write_text("third edition", encoding="utf-8")
    lessons.copy_lessons(folder)
    assert sorted(texts(folder).values()) == ["hers", "hers too", "second edition", "third edition"]
    assert lessons.copy_lessons(folder).beside == ()


def test_without_a_record_nothing_that_differs_is_replaced(edition: Path, tmp_path: Path):
    folder = tmp_path / "mine"
    lessons.copy_lessons(folder)
    (folder / lessons.RECORD).write_text("{damaged", encoding="utf-8")
    (edition / "00_a.ipynb").write_text("second edition", encoding="utf-8")
    assert lessons.copy_lessons(folder).kept == ("00_a.ipynb",)
    assert texts(folder)["00_a.ipynb"] == "first edition"


def test_the_packages_own_folder_is_left_alone(edition: Path):
    assert lessons.copy_lessons(edition).new == () and not (edition / lessons.RECORD).exists()


# ---- lab


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, edition: Path, tmp_path: Path) -> list[Any]:
    """What would be started: (words, options of Popen)."""
    calls: list[Any] = []

    class Process:
        def __init__(self, words: list[str], **options: Any) -> None:
            calls.append((words, options))

        def wait(self) -> int:
            return 2 if "--prot" in calls[-1][0] else 0

    monkeypatch.setattr(lab.subprocess, "Popen", Process)
    monkeypatch.chdir(tmp_path)
    return calls


def test_lab_opens_lesson_0_in_the_folder_and_hands_options_on(opened: list[Any], capsys: Capture, tmp_path: Path):
    assert said(capsys, "lab", "my läb", "--no-browser", "--port", "8890")[0] == 0
    ((words, options),) = opened
    folder = tmp_path / "my läb"
    assert words[:3] == [sys.executable, "-m", "jupyterlab"] and words[-3:] == ["--no-browser", "--port", "8890"]
    assert {f"--ServerApp.root_dir={folder}", "--LabApp.default_url=/lab/tree/00_a.ipynb"} <= set(words)
    assert f"--ServerApp.tornado_settings={{'websocket_max_message_size': {lab.UPLOAD}}}" in words  # over 10 MB arrive
    assert MAX_BYTES < lab.UPLOAD
    assert options["cwd"] == folder and options["env"]["OMP_NUM_THREADS"]


def test_lab_shows_the_repository_around_its_own_lessons(opened: list[Any], edition: Path):
    """What `make lab` does."""
    before = signal.getsignal(signal.SIGTERM)
    assert main(["lab", str(edition), "--no-browser"]) == 0
    ((words, options),) = opened
    assert f"--ServerApp.root_dir={edition.parent}" in words and options["cwd"] == edition.parent
    assert f"--LabApp.default_url=/lab/tree/{edition.name}/00_a.ipynb" in words
    assert signal.getsignal(signal.SIGTERM) is before


def test_lab_says_so_when_jupyterlab_does_not_understand_a_word(opened: list[Any], capsys: Capture):
    assert said(capsys, "lab", "mine", "--prot", "8890")[0] == 2 and len(opened) == 1


def test_lab_takes_a_folder_of_its_own_choice_and_can_stop_after_copying(
    opened: list[Any], capsys: Capture, tmp_path: Path
):
    status, out, _ = said(capsys, "lab", "--copy-only")
    assert status == 0 and opened == [] and "2 lessons copied" in out
    assert len(texts(tmp_path / lab.FOLDER)) == 2
    assert said(capsys, "lab", "--copy-only", "behind it")[0] == 0 and len(texts(tmp_path / "behind it")) == 2


def test_lab_says_what_is_wrong_with_a_folder(opened: list[Any], capsys: Capture, tmp_path: Path):
    (tmp_path / "file").touch()
    status, _, err = said(capsys, "lab", "file")
    assert status == 1 and opened == []
    assert "folder is 'file', which cannot be written (Not a directory); allowed: " in err


def test_lab_says_when_jupyterlab_is_missing(opened: list[Any], capsys: Capture, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lab, "find_spec", lambda name: None)
    status, _, err = said(capsys, "lab")
    assert status == 1 and "metarules[lessons]" in err


def test_lab_gives_jupyter_other_places_where_home_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
):
    assert lab.other_places("spare") == {} or os.environ.get("JUPYTER_CONFIG_DIR") is None
    (tmp_path / "file").touch()
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(tmp_path / "file" / "config"))
    places = lab.other_places(str(tmp_path / "spare"))
    assert set(places) == set(lab.PLACES) and all(path.startswith(str(tmp_path / "spare")) for path in places.values())
    assert "cannot be written" in capsys.readouterr().out


# ---- export


def test_export_writes_features_that_the_exported_network_computes(tmp_path: Path, capsys: Capture):
    target = tmp_path / "a b" / "moons.npz"
    words = ["export", str(target), "--data", "two_moons", "--rule", "hebb", "--steps", "3", "--net", "2-8-4"]
    assert said(capsys, *words)[:2] == (0, f"wrote {target}\n")
    with np.load(target) as found:
        x = metarules.load_dataset("two_moons").x.numpy()
        for l in (1, 2):
            x = np.maximum(x @ found[f"W{l}"] + found[f"b{l}"], 0)
        np.testing.assert_allclose(found["features"], x, atol=1e-5)
        features, names = found["features"], found["class_names"][found["y"]]
    assert said(capsys, *words[:1], str(target.with_suffix(".csv")), *words[2:])[0] == 0
    rows = [line.split(",") for line in target.with_suffix(".csv").read_text(encoding="utf-8").splitlines()]
    assert rows[0] == ["x1", "x2", "x3", "x4", "class"] and [row[-1] for row in rows[1:]] == list(names)
    np.testing.assert_allclose(np.array([row[:-1] for row in rows[1:]], dtype=float), features, rtol=1e-4, atol=1e-6)


STARTS = {".gif": b"GIF8", ".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}


@pytest.mark.parametrize(("suffix", "start"), STARTS.items())
def test_export_draws_pictures_and_films(suffix: str, start: bytes, tmp_path: Path, capsys: Capture):
    target = tmp_path / f"moons{suffix}"
    assert said(capsys, "export", str(target), "--data", "two_moons", "--rule", "oja", "--steps", "4")[0] == 0
    content = target.read_bytes()
    assert content.startswith(start)
    if suffix == ".gif":
        assert Image.open(io.BytesIO(content)).n_frames == 5


def test_export_needs_no_labels(tmp_path: Path, capsys: Capture):
    rows = torch.rand(30, 3, generator=torch.Generator().manual_seed(0)).tolist()
    (tmp_path / "x.csv").write_text("\n".join(",".join(f"{v:.3f}" for v in row) for row in rows), encoding="utf-8")
    words = ["--data", str(tmp_path / "x.csv"), "--data-option", "label=false", "--steps", "2", "--rule", "hebb"]
    for name in ("out.csv", "out.png"):
        assert said(capsys, "export", str(tmp_path / name), *words)[0] == 0


@pytest.mark.parametrize("words", ["--steps 0", "--net 3-4", "--data nothing", "--seed -1"])
def test_export_refuses_before_the_work(words: str, tmp_path: Path, capsys: Capture):
    status, _, err = said(capsys, "export", str(tmp_path / "x.csv"), *words.split())
    assert status == 2 and words.split()[0].strip("-") in err and "allowed" in err


# ---- doctor


def test_the_doctor_finds_nothing_wrong_here(capsys: Capture):
    status, out, _ = said(capsys, "doctor", "--quick")
    assert status == 0, out
    for word in ("Python", "PyTorch", "threads", "ipywidgets", "lessons", "jupyterlab-manager", "Nothing is wrong."):
        assert word in out


def test_the_doctor_tries_the_kernel_and_a_widget():
    facts: list[tuple[str, str]] = []
    troubles: list[str] = []
    doctor_widgets.kernel(facts, troubles)
    assert troubles == [] and dict(facts)["widgets of the kernel"] == "reach the page"


def examined(examine: Any) -> str:
    troubles: list[str] = []
    examine([], troubles)
    return "\n".join(troubles)


def test_the_doctor_sees_a_missing_and_a_disabled_extension(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("jupyter_core.paths.jupyter_path", lambda *_: [str(tmp_path)])
    assert "jupyterlab-manager is missing" in examined(doctor_widgets.widgets)
    monkeypatch.undo()
    (tmp_path / "labconfig").mkdir()
    config = {"disabledExtensions": {"@jupyter-widgets/jupyterlab-manager": True}}
    (tmp_path / "labconfig" / "page_config.json").write_text(json.dumps(config), encoding="utf-8")
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(tmp_path))
    assert "jupyter labextension enable @jupyter-widgets" in examined(doctor_widgets.widgets)


def message(kind: str, **content: Any) -> dict[str, Any]:
    return {"msg_type": kind, "content": content}


@pytest.mark.parametrize(
    ("messages", "wrong"),
    [
        ([message("error", evalue="No module named 'metarules'")], "No module named 'metarules'"),
        ([message("stream", text='["python", "/elsewhere", "0.1.0"]\n')], "another Python"),
        ([message("stream", text=json.dumps(["python", sys.prefix, "0.1.0"]))], "tells the page nothing"),
    ],
    ids=["no metarules", "another Python", "no comm"],
)
def test_the_doctor_sees_what_is_wrong_with_a_kernel(messages: list[Any], wrong: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor_widgets, "probe", lambda: messages)
    assert wrong in examined(doctor_widgets.kernel)


def test_the_doctor_sees_a_kernel_that_does_not_answer(monkeypatch: pytest.MonkeyPatch):
    def silent() -> Any:
        raise RuntimeError("Kernel didn't respond in 60 seconds")

    monkeypatch.setattr(doctor_widgets, "probe", silent)
    assert "did not answer" in examined(doctor_widgets.kernel)


def test_the_doctor_sees_too_many_threads_missing_and_old_packages(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "4096")
    assert "4096 threads were asked for" in examined(doctor.pytorch)
    real = doctor.version

    def version(name: str) -> str:
        if name == "anywidget":
            raise doctor.PackageNotFoundError(name)
        return "7.7.1" if name == "ipywidgets" else real(name)

    monkeypatch.setattr(doctor, "version", version)
    troubles = examined(doctor.requirements)
    assert "anywidget is not installed: pip install 'metarules[lessons]'" in troubles
    assert "ipywidgets is 7.7.1; allowed: >=8.1" in troubles


def test_troubles_are_numbered_sentences_and_status_1(monkeypatch: pytest.MonkeyPatch, capsys: Capture):
    monkeypatch.setattr(doctor, "EXAMINATIONS", (lambda facts, troubles: troubles.extend(["One " * 40, "Two."]),))
    status, out, _ = said(capsys, "doctor")
    assert status == 1 and re.search(r"^1\. One .*\n   One .*\n(.*\n)*\n2\. Two\.", out.lstrip(), re.MULTILINE)
    assert max(map(len, out.splitlines())) < 80


def test_every_command_is_a_main_that_takes_words_and_a_name():
    import inspect
    from importlib import import_module

    for module, _ in command_line.COMMANDS.values():
        assert "prog" in inspect.signature(import_module(module).main).parameters
