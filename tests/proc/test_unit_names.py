"""Which unit a process belongs to, by the path of its control group."""

import pytest

from oomd.proc.cgroup import cgroup_of, unit_cgroup, unit_name

USER = "/user.slice/user-1000.slice/user@1000.service"


@pytest.mark.parametrize(
    ("data", "path"),
    [
        (b"0::/system.slice/db.service\n", "/system.slice/db.service"),
        (b"0::/\n", ""),
        (b"", ""),
        (b"nonsense", ""),
        # Hybrid, and v1 alone: systemd's own hierarchy names the unit.
        (
            b"5:memory:/m\n1:name=systemd:/system.slice/a.service\n0::/b\n",
            "/system.slice/a.service",
        ),
        (b"5:memory:/m\n0::/system.slice/b.service\n", "/system.slice/b.service"),
        (b"0::/a:b\xff.service\n", "/a:b\udcff.service"),
    ],
)
def test_where_a_process_is(data: bytes, path: str) -> None:
    assert cgroup_of(data) == path


@pytest.mark.parametrize(
    ("path", "cgroup", "name"),
    [
        ("/system.slice/db.service", "/system.slice/db.service", "db.service"),
        ("/system.slice/db.service/inner", "/system.slice/db.service", "db.service"),
        (f"{USER}/app.slice/mail.scope/x", f"{USER}/app.slice/mail.scope", "mail.scope"),
        # The user's manager itself.
        (f"{USER}/init.scope", USER, "user@1000.service"),
        ("/init.scope", "/init.scope", "init.scope"),
        ("/system.slice/_memory.service", "/system.slice/_memory.service", "memory.service"),
        ("/user.slice/user-1000.slice", "", ""),
        ("/docker/0123", "", ""),
        # A suffix alone names nothing.
        ("/system.slice/.service", "", ""),
        ("", "", ""),
        (f"{USER}/a.service (deleted)", "", "a.service"),
    ],
)
def test_whose_it_is(path: str, cgroup: str, name: str) -> None:
    assert unit_cgroup(path) == cgroup
    assert unit_name(path) == name
