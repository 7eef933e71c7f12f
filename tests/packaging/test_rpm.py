"""The spec: taken by rpmbuild, and what comes of it."""

from pathlib import Path

import pytest

from oomd import __version__
from tests.packaging.debs import TREE, run


@pytest.fixture(scope="module")
def rpm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rpm")
    run(TREE / "packaging/rpm/build", folder)
    (built,) = folder.glob("*.rpm")
    return built


def query(rpm: Path, *what: str) -> list[str]:
    return run("rpm", "-qp", *what, rpm).stdout.splitlines()


def test_it_is_of_this_version_and_for_every_machine(rpm: Path) -> None:
    assert query(rpm, "--qf", "%{VERSION} %{ARCH}") == [f"{__version__} noarch"]
    assert query(rpm, "--conflicts") == ["oomd"]
    modules = {"python3-psutil", "python3-pyudev", "python3-rich", "python3-systemd"}
    assert modules < set(query(rpm, "--requires"))


def test_it_holds_what_the_deb_holds(rpm: Path) -> None:
    files = set(query(rpm, "--list"))
    assert {
        "/etc/oomd/oomd.toml",
        "/etc/oomd/oomd.toml.d",
        "/etc/oomd/notifiers.d",
        "/usr/bin/oomd",
        "/usr/lib/oomd/package",
        "/usr/lib/oomd/sentinel.py",
        "/usr/lib/systemd/catalog/oomd.catalog",
        "/usr/lib/systemd/system/oomd-audit.service",
        "/usr/lib/systemd/system/oomd-metrics.service",
        "/usr/lib/systemd/system/oomd.service",
        "/usr/lib/sysusers.d/oomd.conf",
        "/usr/lib/tmpfiles.d/oomd.conf",
        "/usr/share/bash-completion/completions/oomd",
        "/usr/share/man/man8/oomd.8.gz",
    } <= files
    assert query(rpm, "--configfiles") == ["/etc/oomd/oomd.toml"]
    assert not [name for name in files if name.endswith(("direct_url.json", "RECORD"))]


def test_an_upgrade_restarts_what_runs_and_a_removal_stops_it(rpm: Path) -> None:
    scripts = "\n".join(query(rpm, "--scripts"))
    before, after = scripts.split("postuninstall scriptlet")
    assert "try-restart oomd.service oomd-audit.service oomd-metrics.service" in after
    assert "disable --now oomd.service oomd-audit.service oomd-metrics.service" in before
    assert "restart" not in before
