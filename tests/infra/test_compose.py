"""What infra/compose.yaml promises, read as YAML; `docker compose` itself reads it where its plugin is there."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

INFRA = Path(__file__).parent.parent.parent / "infra"
TEXT = (INFRA / "compose.yaml").read_text()
COMPOSE = yaml.safe_load(TEXT)
SERVICES = COMPOSE["services"]
EXAMPLE = re.findall(r"^(\w+)=(.*)$", (INFRA / "env.example").read_text(), re.MULTILINE)
USED = re.findall(r"(?<!\$)\$\{(\w+)(:?[?-])?([^}]*)\}", TEXT)
REQUIRED = {name for name, how, _ in USED if how == ":?"}
MAY_STAY_EMPTY = {name for name, how, _ in USED if how == ":-"}
SECRET = re.compile(r"SECRET|PASSWORD|KEY")


def environment(service):
    return SERVICES[service].get("environment", {})


def networks(service):
    return set(SERVICES[service].get("networks", []))


def test_every_variable_is_in_the_example_and_none_besides():
    assert {name for name, _ in EXAMPLE} == {name for name, _, _ in USED}


def test_the_example_has_no_values():
    assert [name for name, value in EXAMPLE if value] == []


def test_a_required_variable_says_what_it_is_each_time():
    assert [name for name, how, words in USED if how == ":?" and len(words.split()) < 3] == []
    assert {name for name, how, _ in USED if not how} <= REQUIRED
    assert not REQUIRED & MAY_STAY_EMPTY


def test_no_secret_has_a_default_but_label_studio_s_which_is_asked_for_when_it_starts():
    optional = {name for name in MAY_STAY_EMPTY if SECRET.search(name)}
    assert optional == {"LABEL_STUDIO_PASSWORD"}
    assert "$${LABEL_STUDIO_PASSWORD:?" in COMPOSE["x-label-studio"]["command"][2]
    assert {words for name, how, words in USED if name in optional and how == ":-"} == {""}


def test_no_secret_is_written_down():
    written = {
        f"{service}.{name}"
        for service in SERVICES
        for name, value in environment(service).items()
        if SECRET.search(name) and value and not str(value).startswith(("${", "postgres"))
    }
    assert written == set()


def test_only_the_proxy_publishes_a_port_by_default_to_this_machine():
    assert [name for name, service in SERVICES.items() if service.get("ports")] == ["proxy"]
    assert SERVICES["proxy"]["ports"] == ["${CV_LISTEN:-127.0.0.1}:${CV_PORT:-443}:8443"]


def test_nothing_but_the_proxy_stands_beside_oauth2_proxy_or_label_studio():
    assert {name for name in SERVICES if "login" in networks(name)} == {"proxy", "oauth2-proxy"}
    assert {name for name in SERVICES if "labelling" in networks(name)} == {
        "proxy",
        "label-studio-solar-cells",
        "label-studio-digits",
    }


def test_only_code_servers_and_the_login_reach_outside():
    outside = {name for name, network in COMPOSE["networks"].items() if not (network or {}).get("internal")}
    reach = {name for name in SERVICES if networks(name) & outside}
    assert reach == {"code-solar-cells", "code-digits", "oauth2-proxy", "proxy"}


@pytest.mark.parametrize("project", ["solar_cells", "digits"])
def test_label_studio_serves_the_pictures_of_its_project_s_worklist_and_of_no_other(project):
    name = project.replace("_", "-")
    said = environment(f"label-studio-{name}")
    data = environment(f"code-{name}")["CV_DATA"]
    root = said["LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT"]
    assert root == data.replace("/data/", "/plant/") + "/review"
    pictures = [volume.rpartition("}/")[2] for volume in SERVICES[f"label-studio-{name}"]["volumes"]]
    assert pictures == [f"label-studio-{name}:/label-studio/data", f"{project}:/plant/{project}:ro"]
    assert said["LABEL_STUDIO_HOST"] == said["CSRF_TRUSTED_ORIGINS"] == f"https://label-{name}.${{CV_DOMAIN}}"


def test_a_location_is_added_without_another_image():
    for name in ("webserver", "viewer", "daemon"):
        command, mounted = SERVICES[name]["command"], SERVICES[name]["volumes"]
        place = command[command.index("--workspace") + 1]
        assert f"./team/workspace.yaml:{place}:ro" in mounted
    assert "workspace.yaml" not in (INFRA / "Dockerfile").read_text()


def test_a_machine_of_one_core_can_start_every_service():
    cores = {name: service["cpus"] for name, service in SERVICES.items()}
    assert {name for name, number in cores.items() if number not in (1, "${CV_CODE_CPUS:-0}")} == set()


def test_the_object_store_takes_no_room_that_it_does_not_need():
    assert "-master.volumePreallocate=false" in SERVICES["objects"]["command"]


def test_the_docker_socket_is_given_to_nobody():
    assert "docker.sock" not in TEXT


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_pinned_limited_restarted_and_without_privileges(name):
    service = SERVICES[name]
    assert re.search(r"\$\{CV_IMAGE:\?|:v?\d+\.\d+", service["image"])
    assert service["mem_limit"]
    assert service["cpus"]
    assert service["restart"] == ("no" if name == "bucket" else "unless-stopped")
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_a_code_server_has_time_to_finish_its_runs():
    assert {
        service.get("stop_grace_period") for name, service in SERVICES.items() if name.startswith("code-")
    } == {"10m"}


def test_the_viewer_is_read_only_and_the_operators_ui_is_not():
    assert "--read-only" in SERVICES["viewer"]["command"]
    assert "--read-only" not in SERVICES["webserver"]["command"]


def test_each_location_has_a_code_server_a_door_and_things_of_its_own():
    workspace = yaml.safe_load((INFRA / "team" / "workspace.yaml").read_text())
    for location in (entry["grpc_server"] for entry in workspace["load_from"]):
        name = location["location_name"]
        code, door = location["host"], location["host"].replace("code-", "approvals-")
        assert code == f"code-{name.replace('_', '-')}"
        for service in (code, door):
            assert environment(service)["CV_SPEC"] == f"/specs/{name}.yaml"
            assert environment(service)["CV_DATA"].endswith(f"/{name}")
        assert "CV_PROXY_SECRET" in environment(door)
        assert f"label-studio-{name.replace('_', '-')}" in SERVICES
        assert environment(code)["CV_APPROVAL_KEY"] == environment(door)["CV_APPROVAL_KEY"]


def test_a_code_server_does_not_know_how_the_proxy_proves_itself():
    knowing = {name for name in SERVICES if "CV_PROXY_SECRET" in environment(name)}
    assert knowing == {"proxy", "approvals-solar-cells", "approvals-digits"}


@pytest.mark.parametrize(
    "copied", re.findall(r"^COPY (?!--)(.+) \S+$", (INFRA / "Dockerfile").read_text(), re.MULTILINE)
)
def test_what_the_image_copies_is_there(copied):
    assert [path for path in copied.split() if not (INFRA.parent / path).exists()] == []


def docker_compose():
    """The command of Docker's compose plugin, where it is there."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if (
            shutil.which(command[0])
            and subprocess.run([*command, "version"], capture_output=True).returncode == 0
        ):
            return command
    return None


def config(folder, without=""):
    """What Docker makes of the file when every required variable is there but one."""
    given = (f"{name}=/srv/{name}" for name in REQUIRED - {without})
    (folder / "env").write_text("\n".join(given))
    command = [
        *docker_compose(),
        "--env-file",
        folder / "env",
        "-f",
        INFRA / "compose.yaml",
        "config",
        "--quiet",
    ]
    only_path = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    return subprocess.run(command, capture_output=True, text=True, env=only_path)


@pytest.mark.skipif(not docker_compose(), reason="needs Docker's compose plugin")
def test_docker_compose_takes_the_file_and_names_the_variable_that_is_missing(tmp_path):
    assert (answer := config(tmp_path)).returncode == 0, answer.stderr
    refused = config(tmp_path, without="CV_APPROVAL_KEY")
    assert refused.returncode != 0
    assert "CV_APPROVAL_KEY is missing a value: the key that approvals are signed with" in refused.stderr
