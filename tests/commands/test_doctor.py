"""doctor on broken installations, where it must not break itself."""

import argparse
import sys

import pytest

from tfscale import cli
from tfscale.commands import doctor


def test_a_check_that_fails_is_a_finding(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> doctor.Finding:
        raise OSError("undefined symbol: _ZN10tensorflow")

    monkeypatch.setattr(doctor, "CHECKS", {"tensorflow": broken})
    monkeypatch.setattr(doctor, "FIXES", {broken: "pip install tensorflow"})
    assert doctor.main(argparse.Namespace()) == 1
    shown = capsys.readouterr().out
    assert "FAIL  tensorflow    OSError: undefined symbol: _ZN10tensorflow" in shown
    assert "to fix it: pip install tensorflow" in shown


def test_a_missing_horovod_is_named_but_does_not_fail(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "horovod", None)
    monkeypatch.setattr(doctor, "CHECKS", {"horovod": doctor._horovod, "collectives": doctor._collectives})
    assert doctor.main(argparse.Namespace()) == 0
    assert "to fix it: python -m tfscale.scripts.build.horovod" in capsys.readouterr().out


def test_arguments_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "now"]) == 2
    wanted = "tfscale: now is not an argument of this command; type: tfscale doctor --help\n"
    assert capsys.readouterr().err == wanted


def test_missing_kernels_are_named_but_do_not_fail(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor.library, "load", lambda: None)
    monkeypatch.setattr(doctor, "CHECKS", {"kernels": doctor._kernels})
    assert doctor.main(argparse.Namespace()) == 0
    assert "to fix it: python -m tfscale.scripts.build.kernels" in capsys.readouterr().out
