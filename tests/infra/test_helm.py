"""The values for the charts, and the manifests beside them."""

from pathlib import Path

import pytest
import yaml

INFRA = Path(__file__).parent.parent.parent / "infra"
HELM = INFRA / "helm"
MANIFESTS = [
    one for file in (HELM / "manifests").glob("*.yaml") for one in yaml.safe_load_all(file.read_text())
]


def everything_in(value, place=""):
    """Every single value in nested mappings and lists, with where it is."""
    parts = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    )
    if parts is None:
        yield place, value
        return
    for name, part in parts:
        yield from everything_in(part, f"{place}.{name}")


@pytest.mark.parametrize("file", sorted(HELM.glob("*.yaml")), ids=lambda file: file.stem)
def test_values_hold_no_secret_but_names_of_secrets_that_exist(file):
    values = everything_in(yaml.safe_load(file.read_text()))
    written = [place for place, value in values if "password" in place.rpartition(".")[2].lower() and value]
    assert written == []


def test_no_manifest_makes_a_secret():
    assert "Secret" not in {one["kind"] for one in MANIFESTS}


def test_charts_make_no_secret_and_no_database_of_their_own():
    dagster, lakefs = (yaml.safe_load((HELM / f"{name}.yaml").read_text()) for name in ("dagster", "lakefs"))
    assert not dagster["generatePostgresqlPasswordSecret"]
    assert not dagster["postgresql"]["enabled"]
    assert lakefs["existingSecret"] == "cv-assets-lakefs"


def test_the_policies_let_only_the_proxy_reach_what_asks_nobody_who_they_are():
    policies = {one["metadata"]["name"]: one["spec"] for one in MANIFESTS if one["kind"] == "NetworkPolicy"}
    let_in = {
        name: [peer["podSelector"]["matchLabels"] for rule in spec["ingress"] for peer in rule["from"]]
        for name, spec in policies.items()
    }
    assert let_in["viewer"] == let_in["approvals"] == let_in["oauth2-proxy"] == [{"app": "proxy"}]
    assert let_in["webserver"] == [{"app": "proxy"}, {"app": "approvals"}]


def test_kubernetes_and_compose_have_the_same_limits_and_ends():
    values = yaml.safe_load((HELM / "dagster.yaml").read_text())
    team = yaml.safe_load((INFRA / "team" / "dagster.yaml").read_text())
    queue = values["dagsterDaemon"]["runCoordinator"]["config"]["queuedRunCoordinator"]
    assert queue["maxConcurrentRuns"] == team["concurrency"]["runs"]["max_concurrent_runs"]
    assert queue["tagConcurrencyLimits"] == team["concurrency"]["runs"]["tag_concurrency_limits"]
    assert values["additionalInstanceConfig"]["concurrency"]["pools"] == team["concurrency"]["pools"]
    job = values["runLauncher"]["config"]["k8sRunLauncher"]["runK8sConfig"]["jobSpecConfig"]
    assert job["activeDeadlineSeconds"] == team["run_monitoring"]["max_runtime_seconds"]


def test_a_run_has_the_room_that_its_launcher_gives_it():
    """What a location says outranks the launcher, as its configuration is included in its runs."""
    deployments = yaml.safe_load((HELM / "code.yaml").read_text())["deployments"]
    assert [one["name"] for one in deployments if one["includeConfigInLaunchedRuns"]["enabled"]]
    assert [one["name"] for one in deployments if "resources" in one] == []
    launcher = yaml.safe_load((HELM / "dagster.yaml").read_text())["runLauncher"]["config"]["k8sRunLauncher"]
    assert launcher["resources"]["limits"]["memory"] == "16Gi"


def test_images_have_one_version_everywhere():
    compose = (INFRA / "compose.yaml").read_text()
    pinned = {
        container["image"]
        for one in MANIFESTS
        for _, container in containers(one)
        if "nginx" in container["image"]
    }
    assert [image for image in pinned if f"image: {image}\n" not in compose] == []


def containers(manifest):
    template = manifest.get("spec", {}).get("template", {}).get("spec", {})
    return [(manifest["metadata"]["name"], one) for one in template.get("containers", [])]


@pytest.mark.parametrize(("name", "container"), [found for one in MANIFESTS for found in containers(one)])
def test_every_container_is_limited_and_without_privileges(name, container):
    assert container["resources"]["limits"]["memory"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
