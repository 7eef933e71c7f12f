"""The container and the DaemonSet: no more than what is justified, and of this version."""

import re
from typing import Any

import pytest
import yaml

from oomd import __version__
from oomd.config_load import EXIT_OK, check_config
from tests.packaging.debs import TREE

MANIFEST = TREE / "packaging/container/daemonset.yaml"
UNIT = TREE / "systemd/oomd.service"


@pytest.fixture
def objects() -> dict[str, Any]:
    return {one["kind"]: one for one in yaml.safe_load_all(MANIFEST.read_text())}


@pytest.fixture
def pod(objects: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = objects["DaemonSet"]["spec"]["template"]["spec"]
    return spec


def test_the_objects_belong_together(objects: dict[str, Any], pod: dict[str, Any]) -> None:
    assert set(objects) == {"Namespace", "ConfigMap", "DaemonSet"}
    daemon_set = objects["DaemonSet"]
    labels = daemon_set["spec"]["template"]["metadata"]["labels"]
    assert daemon_set["spec"]["selector"]["matchLabels"] == labels
    for kind in ("ConfigMap", "DaemonSet"):
        assert objects[kind]["metadata"]["namespace"] == objects["Namespace"]["metadata"]["name"]
    (container,) = pod["containers"]
    assert container["image"] == f"oomd:{__version__}"
    assert {one["name"] for one in container["volumeMounts"]} == {
        one["name"] for one in pod["volumes"]
    }


def test_it_sees_the_nodes_processes_and_has_no_more_than_it_needs(pod: dict[str, Any]) -> None:
    assert pod["hostPID"] is True
    assert not {"hostNetwork", "hostIPC"} & set(pod)
    security = pod["containers"][0]["securityContext"]
    assert security["privileged"] is False
    assert security["allowPrivilegeEscalation"] is False
    assert security["readOnlyRootFilesystem"] is True
    assert security["capabilities"]["drop"] == ["ALL"]
    # What the unit has, and what it gets by LimitMEMLOCK=.
    unit = set(re.findall(r"^CapabilityBoundingSet=CAP_(\w+)$", UNIT.read_text(), re.MULTILINE))
    assert set(security["capabilities"]["add"]) <= unit | {"IPC_LOCK"}


def test_each_capability_says_what_needs_it() -> None:
    lines = MANIFEST.read_text().splitlines()
    added = [n for n, line in enumerate(lines) if re.fullmatch(r" +- [A-Z_]+", line)]
    assert len(added) > 1
    assert all(lines[n - 1].lstrip().startswith("# ") for n in added)


def test_its_settings_are_valid(objects: dict[str, Any], tmp_path: Any) -> None:
    (tmp_path / "oomd.toml").write_text(objects["ConfigMap"]["data"]["oomd.toml"])
    assert check_config(str(tmp_path / "oomd.toml"), False)[0] == EXIT_OK


def test_the_image_is_made_of_what_there_is() -> None:
    text = (TREE / "packaging/container/Containerfile").read_text()
    copied = re.findall(r"^COPY (\S+) ", text, re.MULTILINE)
    assert copied
    assert [name for name in copied if not (TREE / name).exists()] == []
