"""The files that keep `raymu serve` up: manifests by Kubernetes' own schemas, units by systemd's own checks."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from raymu.cli.commands.serve import command as serve
from tests.unit.cluster_files.files import FOLDER, Tree, read

KUBERNETES = "1.34"
SERVE = FOLDER / "serve"
RESOURCES: list[str] = read("serve/kustomization.yaml")["resources"]
UNITS = ("raymu-serve.service", "raymu-backup.service", "raymu-backup.timer")
RAYMU = Path(sys.executable).with_name("raymu")

has_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd")


@pytest.fixture
def pod() -> Tree:
    template: Tree = read("serve/statefulset.yaml")["spec"]["template"]
    return template


@pytest.mark.parametrize("name", RESOURCES)
def test_kubernetes_knows_every_field(name: str) -> None:
    kubernetes_validate.validate(read(f"serve/{name}"), KUBERNETES, strict=True)


def test_every_manifest_that_needs_nothing_installed_is_applied() -> None:
    written = {path.name for path in SERVE.glob("*.yaml")}
    assert written - set(RESOURCES) == {"kustomization.yaml", "service-monitor.yaml"}


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl")
def test_kustomize_renames_all_of_them(tmp_path: Path) -> None:
    shutil.copytree(SERVE, tmp_path / "serve")
    overlay = {"namePrefix": "second-", "namespace": "desk", "resources": ["serve"]}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    done = subprocess.run(["kubectl", "kustomize", tmp_path], check=True, capture_output=True, text=True, timeout=60)
    resources = list(yaml.safe_load_all(done.stdout))
    assert [resource["metadata"]["name"] for resource in resources] == ["second-raymu-serve"] * len(RESOURCES)
    [stateful] = [resource for resource in resources if resource["kind"] == "StatefulSet"]
    assert stateful["spec"]["serviceName"] == "second-raymu-serve"


def test_one_pod_writes() -> None:
    spec = read("serve/statefulset.yaml")["spec"]
    assert spec["replicas"] == 1
    assert spec["volumeClaimTemplates"][0]["spec"]["accessModes"] == ["ReadWriteOncePod"]


def test_every_selector_means_the_pod(pod: Tree) -> None:
    labels = pod["metadata"]["labels"]
    assert read("serve/statefulset.yaml")["spec"]["selector"]["matchLabels"] == labels
    assert read("serve/service.yaml")["spec"]["selector"] == labels
    assert read("serve/network-policy.yaml")["spec"]["podSelector"]["matchLabels"] == labels
    assert read("serve/pod-disruption-budget.yaml")["spec"]["selector"]["matchLabels"] == labels
    monitor = read("serve/service-monitor.yaml")["spec"]
    of_service = read("serve/service.yaml")["metadata"]["labels"]
    assert monitor["selector"]["matchLabels"].items() <= of_service.items()
    assert of_service[monitor["jobLabel"]] == "raymu", "the rules ask for this job"
    [port] = read("serve/service.yaml")["spec"]["ports"]
    [own] = pod["spec"]["containers"][0]["ports"]
    assert {port["name"], port["targetPort"], own["name"]} == {monitor["endpoints"][0]["port"]}
    [rule] = read("serve/network-policy.yaml")["spec"]["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": own["containerPort"]}]


def test_no_container_is_root_may_become_root_or_changes_its_image(pod: Tree) -> None:
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    assert pod["spec"]["automountServiceAccountToken"] is False
    for container in (*pod["spec"]["initContainers"], *pod["spec"]["containers"]):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_what_the_pod_and_the_unit_start_is_a_command_of_raymu(pod: Tree) -> None:
    [container] = pod["spec"]["containers"]
    [line] = re.findall(r"^ExecStart=(.*)$", (SERVE / "raymu-serve.service").read_text(), flags=re.MULTILINE)
    for words in (container["args"], line.split()):
        assert [words[0].rpartition("/")[2], words[1]] == ["raymu", "serve"]
        context = serve.make_context("serve", list(words[2:]))
        assert context.params["run_dirs"] == ("/var/lib/raymu/runs/first",)
        assert context.params["port"] == 8765


def test_the_run_is_restored_once_and_a_failed_restoration_stops_the_pod(pod: Tree, tmp_path: Path) -> None:
    """The script runs as it is written, with a raymu that says what it would end with."""
    [script] = pod["spec"]["initContainers"][0]["args"]
    calls, programs = tmp_path / "calls", tmp_path / "programs"
    programs.mkdir()
    (programs / "raymu").write_text(f'#!/bin/sh\necho "$@" >> {calls}\nexit "$CODE"\n')
    (programs / "raymu").chmod(0o755)
    script = script.replace("/var/lib/raymu", str(tmp_path / "state"))

    def start(code: int) -> int:
        environment = {"PATH": f"{programs}:{os.environ['PATH']}", "CODE": str(code), "BACKUP": "s3://b/first"}
        return subprocess.run(["sh", "-ec", script], env=environment, check=False, timeout=60).returncode

    assert start(1) != 0
    assert start(3) == 0
    assert start(1) == 0, "it is restored already"
    assert calls.read_text().splitlines() == [f"restore s3://b/first {tmp_path}/state/runs/first --trust"] * 2


@pytest.fixture
def units(tmp_path: Path) -> list[Path]:
    """The units, with the raymu of this environment in place of the one in /opt."""
    for name in UNITS:
        text = (SERVE / name).read_text().replace("/opt/raymu/bin/raymu", str(RAYMU))
        (tmp_path / name).write_text(text)
    return [tmp_path / name for name in UNITS]


def analysed(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", *map(str, words)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


@has_systemd
def test_systemd_takes_the_units(units: list[Path]) -> None:
    done = analysed("verify", "--man=no", *units)
    assert (done.returncode, done.stderr) == (0, "")
    units[0].write_text(units[0].read_text().replace("ProtectSystem=strict", "ProtectSystems=strict"))
    assert "ProtectSystems" in analysed("verify", "--man=no", units[0]).stderr


@has_systemd
@pytest.mark.parametrize("number", [0, 1])
def test_systemd_finds_the_services_hardened(units: list[Path], number: int) -> None:
    hardened = ("security", "--offline=true", "--no-pager", "--threshold=20")
    assert analysed(*hardened, units[number]).returncode == 0
    units[number].write_text(re.sub(r"^(Protect|Restrict)\w+=.*$", "", units[number].read_text(), flags=re.MULTILINE))
    assert analysed(*hardened, units[number]).returncode != 0
