"""The manifests for KubeRay: they follow the fields of its resources, and Kubernetes' own schemas."""

from copy import deepcopy
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.unit.cluster_files.files import (
    MANIFESTS,
    Tree,
    cluster_spec,
    containers,
    pinned,
    pod_templates,
    read,
    readme_blocks,
)

KUBERNETES = "1.34"
KUBERAY = Path(__file__).parents[2] / "data" / "kuberay.yaml"


@pytest.fixture(scope="session")
def schema() -> Tree:
    schema: Tree = yaml.safe_load(KUBERAY.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return schema


@pytest.mark.parametrize("name", MANIFESTS)
def test_kuberay_knows_every_field(name: str, schema: Tree) -> None:
    jsonschema.validate(read(name), schema)


@pytest.mark.parametrize("name", MANIFESTS)
def test_the_schema_refuses_a_wrong_field_a_wrong_value_and_a_lack(name: str, schema: Tree) -> None:
    def refused(change: str, value: object) -> None:
        manifest = deepcopy(read(name))
        spec = manifest["spec"].get("rayClusterSpec", manifest["spec"])
        *way, last = change.split(".")
        for step in way:
            spec = spec[step]
        spec[last] = value
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(manifest, schema)

    refused("authOptions.mode", "none")
    refused("authOptions.token", "x")
    refused("headGroupSpec.rayStartParams", {"num-cpus": 0})
    refused("headGroupSpec.replicas", 1)
    refused("workerGroupSpecs", [{"groupName": "gpu"}])


@pytest.mark.parametrize("name", MANIFESTS)
def test_kubernetes_knows_every_field_of_the_pods(name: str) -> None:
    for template in pod_templates(name):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod", **template["metadata"]}}
        kubernetes_validate.validate({**pod, "spec": template["spec"]}, KUBERNETES, strict=True)


def test_the_check_of_pods_refuses_unknown_fields() -> None:
    template = deepcopy(pod_templates("raycluster.yaml")[0])
    template["spec"]["containers"][0]["resource"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": template["spec"]},
            KUBERNETES,
            strict=True,
        )


def test_kubernetes_knows_every_field_of_the_network_policy() -> None:
    kubernetes_validate.validate(read("network-policy.yaml"), KUBERNETES, strict=True)


def test_a_job_s_cluster_is_the_standing_one() -> None:
    assert cluster_spec("rayjob.yaml") == cluster_spec("raycluster.yaml")


@pytest.mark.parametrize("name", MANIFESTS)
def test_ray_s_version_is_the_tested_one(name: str) -> None:
    assert cluster_spec(name)["rayVersion"] == pinned()["ray"]


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_token_is_required(name: str) -> None:
    assert cluster_spec(name)["authOptions"] == {"mode": "token"}


@pytest.mark.parametrize("name", MANIFESTS)
def test_no_service_or_port_is_open_outside_the_cluster(name: str) -> None:
    head = cluster_spec(name)["headGroupSpec"]
    assert head["serviceType"] == "ClusterIP"
    assert head["enableIngress"] is False
    assert [port for container in containers(name) for port in container.get("ports", []) if "hostPort" in port] == []
    assert [pod_template for pod_template in pod_templates(name) if pod_template["spec"].get("hostNetwork")] == []


@pytest.mark.parametrize("name", MANIFESTS)
def test_no_container_is_root_or_may_become_root(name: str) -> None:
    for template in pod_templates(name):
        assert template["spec"]["securityContext"]["runAsNonRoot"] is True
        assert template["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in containers(name):
        own = container["securityContext"]
        assert own == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


@pytest.mark.parametrize("name", MANIFESTS)
def test_every_pod_is_under_the_network_policy(name: str) -> None:
    labels = read("network-policy.yaml")["spec"]["podSelector"]["matchLabels"]
    assert [template["metadata"]["labels"] for template in pod_templates(name)] == [labels] * len(pod_templates(name))


def test_the_network_policy_lets_in_the_cluster_itself_the_operator_callers_and_prometheus() -> None:
    policy = read("network-policy.yaml")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    own, *others = policy["ingress"]
    assert own == {"from": [{"podSelector": policy["podSelector"]}]}
    admitted = [(rule["from"], [port["port"] for port in rule["ports"]]) for rule in others]
    callers = [{"podSelector": {"matchLabels": {"raymu-client": "true"}}}]
    assert admitted == [
        (_namespace("kuberay-system"), [8265]),
        (callers, [8765]),
        (_namespace("monitoring"), [8080]),
    ]


def _namespace(name: str) -> list[Tree]:
    """Return a namespace as the source of a network policy's rule."""
    return [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}]


@pytest.mark.parametrize("name", MANIFESTS)
def test_prometheus_finds_the_metrics_of_every_node(name: str) -> None:
    """The monitor that the README shows selects them."""
    [monitor] = [
        document for document in map(yaml.safe_load, readme_blocks("yaml")) if document.get("kind") == "PodMonitor"
    ]
    assert monitor["metadata"]["namespace"] == "monitoring"
    assert monitor["spec"]["selector"]["matchLabels"] == pod_templates(name)[0]["metadata"]["labels"]
    [endpoint] = monitor["spec"]["podMetricsEndpoints"]
    nodes = [container for container in containers(name) if container["name"] != "ray-job-submitter"]
    assert [[port for port in node["ports"] if port["name"] == endpoint["port"]] for node in nodes] == [
        [{"name": "metrics", "containerPort": 8080}]
    ] * 2


def test_a_job_is_not_retried() -> None:
    """A run directory is trained once. A second attempt would be refused, and hide why the first one failed."""
    job = read("rayjob.yaml")["spec"]
    assert (job["backoffLimit"], job["submitterConfig"]["backoffLimit"]) == (0, 0)
