"""start.py: sets up once, notices what changed, hands on exit codes. Nothing is installed here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import start


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty repository whose commands are recorded instead of run."""
    (tmp_path / "pyproject.toml").write_text("[project]\n", encoding="utf-8")
    (tmp_path / "constraints.txt").write_text("# pins\ntorch==2.13.0\n", encoding="utf-8")
    env = tmp_path / ".venv"
    for name, value in {"ROOT": tmp_path, "VENV": env, "PYTHON": env / "python", "STAMP": env / "stamp.json"}.items():
        monkeypatch.setattr(start, name, value)
    monkeypatch.delenv("METARULES_TORCH", raising=False)
    monkeypatch.delenv("METARULES_TORCH_INDEX", raising=False)
    return tmp_path


@pytest.fixture
def commands(house: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What would have been run; everything succeeds."""
    ran: list[tuple[str, ...]] = []

    def create(folder: Path, **options: bool) -> None:
        folder.mkdir(exist_ok=True)
        start.PYTHON.touch()

    monkeypatch.setattr(start.venv, "create", create)
    monkeypatch.setattr(start, "usable", lambda: start.PYTHON.exists())
    monkeypatch.setattr(start, "pip_offers_own_build", lambda: True)
    monkeypatch.setattr(start, "run", lambda *words: ran.append(words) or 0)
    return ran


def test_sets_up_once(commands: list[tuple[str, ...]]):
    assert start.set_up() == 0
    assert len(commands) == 1 and commands[0][-2:] == ("-e", ".[lessons,test]")
    assert "-q" in commands[0] and "-qq" not in commands[0]  # in a log: warnings, lost connections among them
    assert start.set_up() == 0
    assert len(commands) == 1


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_sets_up_again_when_requirements_change(commands: list[tuple[str, ...]], house: Path, name: str):
    start.set_up()
    with (house / name).open("a", encoding="utf-8") as file:
        file.write("# changed\n")
    start.set_up()
    assert len(commands) == 2


def test_a_moved_repository_gets_a_new_environment(commands: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch):
    start.set_up()
    found = json.loads(start.STAMP.read_text(encoding="utf-8"))
    start.STAMP.write_text(json.dumps({**found, "root": "elsewhere"}), encoding="utf-8")
    cleared = []
    monkeypatch.setattr(start.venv, "create", lambda folder, clear, **options: cleared.append(clear))
    start.set_up()
    assert cleared == [True]


@pytest.mark.parametrize("content", ["", '{"root": "/', "3"])
def test_a_stamp_that_was_cut_short_is_made_anew(content: str, commands: list[tuple[str, ...]]):
    assert start.set_up() == 0
    good = start.STAMP.read_text(encoding="utf-8")
    start.STAMP.write_text(content, encoding="utf-8")
    assert start.set_up() == 0 and start.STAMP.read_text(encoding="utf-8") == good


def test_a_failed_installation_leaves_no_stamp(
    commands: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(start, "run", lambda *words: 1)
    assert start.set_up() == 1
    assert not start.STAMP.exists()
    assert "installation failed" in capsys.readouterr().err


def test_linux_asks_for_the_cpu_build_where_pip_does_not_offer_it(
    commands: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(start.sys, "platform", "linux")
    monkeypatch.setattr(start, "pip_offers_own_build", lambda: False)
    assert start.install() == 0
    assert "--torch-backend=cpu" in commands[1] and commands[2][-1] == ".[lessons,test]"


def test_without_pytorchs_index_pip_chooses_and_we_say_so(
    commands: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(start.sys, "platform", "linux")
    monkeypatch.setattr(start, "pip_offers_own_build", lambda: False)
    monkeypatch.setattr(start, "run", lambda *words: commands.append(words) or int("uv" in words))
    assert start.install() == 0
    assert "METARULES_TORCH_INDEX" in capsys.readouterr().out
    assert commands[-1][-1] == ".[lessons,test]"


@pytest.mark.parametrize(
    ("variable", "value", "wanted"),
    [("METARULES_TORCH_INDEX", "file:///wheels", "--extra-index-url"), ("METARULES_TORCH", "default", "-e")],
)
def test_a_users_choice_of_pytorch_is_respected(
    commands: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch, variable: str, value: str, wanted: str
):
    monkeypatch.setattr(start, "pip_offers_own_build", lambda: False)
    monkeypatch.setenv(variable, value)
    assert start.install() == 0
    assert len(commands) == 1 and wanted in commands[0]


def test_an_unknown_choice_is_refused(house: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("METARULES_TORCH", "gpu")
    with pytest.raises(SystemExit) as stop:
        start.torch_wanted()
    assert stop.value.code == 1
    assert "'gpu'; allowed: cpu, default" in capsys.readouterr().err


@pytest.mark.parametrize(("failing", "code"), [("ruff", 1), ("mypy", 1), ("pytest", 1), ("none", 0)])
def test_exit_codes_are_handed_on_and_every_step_runs(
    commands: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch, failing: str, code: int
):
    monkeypatch.setattr(start, "run", lambda *words: commands.append(words) or int(failing in words))
    assert start.test(["-x"]) == code
    assert [words[2] for words in commands] == ["ruff", "ruff", "mypy", "pytest"]
    assert commands[-1][-2:] == ("-x", "tests")


def test_help_of_lint_sets_nothing_up(commands: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(start.sys, "argv", ["start.py", "lint", "--help"])
    with pytest.raises(SystemExit, match="0"):
        start.main()
    assert not commands


def test_lab_says_when_lesson_0_is_missing(
    commands: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], house: Path
):
    monkeypatch.setattr(start, "LESSON_0", house / "notebooks" / "00_start_here.ipynb")
    assert start.lab([]) == 1
    assert "is missing" in capsys.readouterr().err


def test_lab_opens_the_lessons_where_they_are(
    commands: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch, house: Path
):
    lesson = house / "lesson.ipynb"
    lesson.touch()
    monkeypatch.setattr(start, "LESSON_0", lesson)
    assert start.lab(["--no-browser"]) == 0
    assert commands[-1][1:] == ("-m", "metarules", "lab", str(house), "--no-browser")


def test_bench_hands_its_words_on(commands: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(start.sys, "argv", ["start.py", "bench", "--quick"])
    assert start.main() == 0
    assert commands[-1][1:] == ("-m", "benchmarks", "--quick")


def test_figures_are_drawn_by_their_tool(commands: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(start.sys, "argv", ["start.py", "figures"])
    assert start.main() == 0 and commands[-1][1:] == ("tools/paper_figures.py",)


@pytest.mark.parametrize(
    ("ends", "status"), [((0, 0), 0), ((0, 5), 0), ((5, 0), 0), ((5, 5), 5), ((1, 0), 1), ((0, 2), 2)]
)
def test_both_parts_of_the_slow_tests_count(ends: tuple[int, int], status: int, monkeypatch: pytest.MonkeyPatch):
    left = iter(ends)
    said: list[tuple[str, ...]] = []
    monkeypatch.setattr(start, "run_python", lambda *words: (said.append(words), next(left))[1])
    assert start.test_slow(["-k", "ridge"]) == status
    assert [words[3] for words in said] == ["slow and not browser", "browser"]
    assert said[0][-2:] == ("-k", "ridge") and said[1][-3:] == ("-k", "ridge", "tests/browser")


def test_who_names_a_place_gets_no_other(monkeypatch: pytest.MonkeyPatch):
    said: list[tuple[str, ...]] = []
    monkeypatch.setattr(start, "run_python", lambda *words: said.append(words) or 0)
    start.test_slow(["tests/test_house.py::test_x"])
    assert [words[-1] for words in said] == 2 * ["tests/test_house.py::test_x"]
