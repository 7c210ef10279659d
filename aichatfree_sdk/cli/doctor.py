"""``aichatfree doctor``: what is configured, and whether it works."""

from __future__ import annotations

import os
import platform
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx
from attrs import evolve

from aichatfree_sdk import AIChatFreeError, __version__

from .ask import error_as_data, reply_as_data
from .connection import Target, connect
from .exits import ExitCode, exit_code
from .output import put_error, put_json, put_line
from .terminal import one_line

# Somebody is waiting for it; the client's own 120 s are for answers.
_TIMEOUT = 30.0
_QUESTION = "Reply with the one word: pong"


def doctor(target: Target, *, ask_question: bool, as_json: bool) -> ExitCode:
    """Check, report, and return the exit code."""
    if target.timeout is None:
        target = evolve(target, timeout=_TIMEOUT)
    report: dict[str, Any] = {
        "ok": False,
        "versions": {"aichatfree_sdk": __version__, "python": platform.python_version(), "httpx": httpx.__version__},
    }
    try:
        code = _examine(target, report, ask_question=ask_question)
    except (AIChatFreeError, OSError) as error:
        report["error"] = error_as_data(error)
        code = exit_code(error)
    report["ok"] = code == ExitCode.OK
    if as_json:
        put_json(report)
    else:
        _print(report)
    return code


def _examine(target: Target, report: dict[str, Any], *, ask_question: bool) -> ExitCode:
    """Fill the report as far as it goes; what stops it is raised."""
    configuration = report["configuration"] = _configuration(target)
    with connect(target) as client:
        url = configuration["base_url"]["value"] = client.settings.base_url
        configuration["proxy_variable"] = None if target.local else _proxy_variable(url)
        report["password_accepted"] = client.check_password()
        if not report["password_accepted"]:
            return ExitCode.CREDENTIALS
        if ask_question:
            report["answer"] = reply_as_data(client.ask(_QUESTION))
    return ExitCode.OK


def _configuration(target: Target) -> dict[str, Any]:
    """Return where each value comes from; what cannot be used is told here, too, but for its value."""
    sources = {
        "password": _source(target, "PASSWORD", file=target.password_file),
        "secret": _source(target, "SECRET", file=target.secret_file),
    }
    return {
        "base_url": {"value": None, "source": _source(target, "BASE_URL", option=target.base_url)},
        **{name: {"set": source in ("file", "environment"), "source": source} for name, source in sources.items()},
        "proxy_variable": None,
    }


def _proxy_variable(url: str) -> str | None:
    """Return the name of the variable whose proxy the requests go through; its URL may hold a password."""
    parts = urlsplit(url)
    proxies = getproxies()
    if parts.hostname in ("localhost", "127.0.0.1", "::1") or proxy_bypass(parts.netloc):
        return None
    return next((f"{name.upper()}_PROXY" for name in (parts.scheme, "all") if name in proxies), None)


def _source(target: Target, name: str, *, option: object = None, file: object = None) -> str:
    if target.local:
        return "local"
    if option is not None:
        return "option"
    if file is not None:
        return "file"
    return "environment" if os.environ.get(f"AICHATFREE_{name}") else "default"


def _print(report: dict[str, Any]) -> None:
    versions = report["versions"]
    put_line(f"aichatfree-sdk {versions['aichatfree_sdk']}, Python {versions['python']}, httpx {versions['httpx']}")
    if configuration := report.get("configuration"):
        base_url = configuration["base_url"]
        _row("base URL", f"{base_url['value'] or 'cannot be used'} ({base_url['source']})")
        for name in ("password", "secret"):
            entry = configuration[name]
            _row(name, f"set ({entry['source']})" if entry["set"] else "not set")
        variable = configuration["proxy_variable"]
        _row("proxy", f"by {variable}" if variable else "none")
    if "password_accepted" in report:
        accepted = report["password_accepted"]
        _row("server", "answers and takes the password" if accepted else "answers and refuses the password")
        if not accepted:
            put_error("the password is wrong or missing: set AICHATFREE_PASSWORD or use --password-file")
    if answer := report.get("answer"):
        _row("answer", f"{answer['text']} (in {answer['timing']['total']:.1f} s)")
    if error := report.get("error"):
        put_error(error["message"])


def _row(name: str, value: str) -> None:
    put_line(f"{name:<9} {one_line(value)}")
