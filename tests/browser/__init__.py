"""Lessons and widgets in a real JupyterLab in a real Chromium; left out of `make test`, run by `make test-slow`.

    lab.py       a JupyterLab server of its own: settings, directories, notebooks, kernels without a network
    page.py      one notebook in the browser: run, press, read, photograph, time
    conditions.py, harness.js  what can be waited for, and the half of page.py that lives inside the page
    report.py    the measured times, as a table and as JSON
    lesson.py    what every lesson must show
    explorer.py  `InnerLoopExplorer` as a reader has it before her

Environment variables:
    METARULES_CHROMIUM        the browser, where none is on the PATH
    METARULES_SCREENSHOTS     folder to keep screenshots in; otherwise one in pytest's temporary directory
    METARULES_BROWSER_REPORT  file for the measured times; otherwise `browser-report.json` beside the screenshots
"""
