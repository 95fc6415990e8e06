"""Versions and machine are told, and no host or user."""

import platform

import torch

from lightning_prune.report import machine as module
from lightning_prune.report.machine import machine, versions


def test_versions_are_those_that_run():
    found = versions()
    assert found["torch"] == torch.__version__
    assert found["python"] == platform.python_version()


def test_the_machine_is_told_without_its_name():
    found = machine()
    assert found["threads"] == torch.get_num_threads()
    assert platform.node() not in str(found)


def test_a_system_that_does_not_tell_its_processor(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "_CPU_INFO", tmp_path / "none")
    assert machine()["processor"] == (platform.processor() or platform.machine())
