"""Lessons and widgets in a real JupyterLab in a real Chromium; left out of `make test`, run by `make test-slow`.

    lab.py       a JupyterLab server of its own: settings, directories, notebooks, kernels without a network
    page.py      one notebook in the browser: run, press, read, photograph, time
    conditions.py, harness.js  what can be waited for, and the half of page.py that lives inside the page
    report.py    the measured times, as a table and as JSON
    lesson.py    what every lesson must show: checks, and `EveryLesson`, the tests made of them
    widget.py    a lesson's main widget as a reader has it before her; a lesson's test adds what its own widget says
    explorer.py  the same for `InnerLoopExplorer`
    keyboard.py  a widget without a mouse

A lesson's module says NAME, its notebook, and WIDGET, a class that extends `Widget`; the fixtures of conftest.py go by
them. All its tests share one page and one kernel:

    lesson_lab     the page                         first_run  the first Run All in its fresh kernel
    opened_widget  the widget as that run left it   widget     the same, reset before each test
    report         where what is measured goes      lab        a fresh page for one test

Its own tests come first; `class TestLesson(lesson.EveryLesson)` at the end adds those that all lessons have in common
(`lesson.RunAgain` one more).

Environment variables:
    METARULES_CHROMIUM        the browser, where none is on the PATH
    METARULES_SCREENSHOTS     folder to keep screenshots in; otherwise one in pytest's temporary directory
    METARULES_BROWSER_REPORT  file for the measured times; otherwise `browser-report.json` beside the screenshots.
                              The same name ending in .txt holds them as a table
"""
