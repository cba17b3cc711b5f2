"""The table of contents: complete, in order, light to load, and described for people."""

import ast
import subprocess
import sys
import warnings

import dagster as dg
import pytest

from cv_assets.definitions import STEPS, definitions
from cv_assets.spec.load import SpecError
from resources.deployments import ROOT, Deployment

HEAVY = (
    "torch", "torchvision", "timm", "evidently", "great_expectations", "cv2", "onnx", "onnxruntime", "sklearn",
    "scipy", "statsmodels", "matplotlib", "pandas", "apprise",
)  # fmt: skip


@pytest.fixture(scope="module")
def loaded(tmp_path_factory) -> dg.Definitions:
    data = tmp_path_factory.mktemp("data")
    return definitions(Deployment(ROOT / "specs" / "solar_cells.yaml", data, "main", "http://127.0.0.1:3000"))


def test_every_assets_module_on_disk_is_a_step():
    assert {path.parent.name for path in (ROOT / "cv_assets").glob("*/assets.py")} == set(STEPS)


def test_groups_are_numbered_in_the_order_of_steps(loaded):
    groups = {spec.group_name for spec in loaded.resolve_all_asset_specs()}
    assert sorted(groups) == [
        f"solar_cells_{number:02d}_{step}" for number, step in enumerate(STEPS, start=1)
    ]


def test_data_flows_in_the_order_of_groups(loaded):
    graph = loaded.resolve_asset_graph()
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        for parent in node.parent_keys:
            assert graph.get(parent).group_name <= node.group_name, (parent, key)


def test_every_job_and_sensor_on_disk_is_loaded(loaded):
    on_disk = {path.stem for path in (ROOT / "jobs").glob("[!_]*.py")}
    assert on_disk == {job.name for job in loaded.jobs}
    sensors = {path.stem for path in (ROOT / "sensors").glob("[!_]*.py")}
    of_alarms = {"retrain_on_drift", "retrain_on_kpi"}
    without_a_time_in_the_spec = {"retrain_on_schedule", "retention_monthly", "prune_weekly"}
    started = {one.name for one in [*loaded.sensors, *loaded.schedules]}
    assert sensors - {"retrain_on_alarms"} | of_alarms == started | without_a_time_in_the_spec


def test_every_sensor_starts_a_job_that_exists(loaded):
    repository = loaded.get_repository_def()
    for sensor in repository.sensor_defs:
        for target in sensor.targets:
            assert repository.has_job(target.job_name), (sensor.name, target.job_name)


def test_every_run_that_is_requested_says_why():
    requests = [
        (file, node)
        for folder in ("sensors", "cv_assets")
        for file in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "RunRequest"
    ]
    assert len(requests) > 4
    for file, request in requests:
        tags = next((one.value for one in request.keywords if one.arg == "tags"), None)
        assert tags is not None, file
        assert '"why": ' in ast.unparse(tags).replace("'", '"'), file


def test_every_asset_is_described_owned_versioned_and_contracted(loaded):
    for spec in loaded.resolve_all_asset_specs():
        assert spec.description, spec.key
        assert len(spec.description) > 60, spec.key
        assert spec.owners, spec.key
        assert spec.kinds, spec.key
        assert spec.code_version, spec.key
        columns = spec.metadata["dagster/column_schema"].columns
        assert columns, spec.key


def test_every_column_of_every_table_is_described(loaded):
    for spec in loaded.resolve_all_asset_specs():
        for column in spec.metadata["dagster/column_schema"].columns:
            assert column.description, (spec.key, column.name)
            assert len(column.description) > 8, (spec.key, column.name, column.description)


def test_every_check_asks_a_question(loaded):
    for asset in loaded.assets:
        for spec in asset.check_specs:
            assert spec.description, spec.key
            assert "?" in spec.description, spec.key


def test_every_job_sensor_and_schedule_is_described(loaded):
    for thing in [*loaded.jobs, *loaded.sensors, *(loaded.schedules or [])]:
        assert thing.description, thing.name


def test_loading_the_definitions_imports_nothing_heavy(tmp_path):
    code = f"import sys, cv_assets.definitions; sys.exit(' '.join(set({HEAVY}) & set(sys.modules)) or 0)"
    loading = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={"CV_DATA": str(tmp_path)}, capture_output=True, text=True
    )
    assert loading.returncode == 0, loading.stderr


def test_loading_the_definitions_warns_of_nothing_and_opens_no_lake(tmp_path):
    code = "import cv_assets.definitions as d; d.defs.get_repository_def()"
    loading = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT, env={"CV_DATA": str(tmp_path / "data")}, capture_output=True, text=True,
    )  # fmt: skip
    assert loading.returncode == 0, loading.stderr
    assert not (tmp_path / "data").exists()


def test_a_model_added_to_the_spec_is_an_asset(tmp_path, loaded):
    text = (ROOT / "specs" / "solar_cells.yaml").read_text()
    second = text.replace("    - name: vit\n", "    - name: small_vit\n")
    (tmp_path / "spec.yaml").write_text(second)
    with warnings.catch_warnings():
        other = definitions(Deployment(tmp_path / "spec.yaml", tmp_path, "main", "http://127.0.0.1:3000"))

    def checkpoints(defs):
        names = {spec.key.path[-1] for spec in defs.resolve_all_asset_specs()}
        return {name for name in names if name.endswith("_checkpoint")}

    assert checkpoints(loaded) == {"cnn_checkpoint", "vit_checkpoint"}
    assert checkpoints(other) == {"cnn_checkpoint", "small_vit_checkpoint"}


def test_every_job_tags_its_runs_with_the_project(loaded):
    assert {job.name: job.tags.get("project") for job in loaded.jobs} == dict.fromkeys(
        (job.name for job in loaded.jobs), "solar_cells"
    )


def test_every_asset_check_and_partition_set_carries_the_project_s_name(loaded):
    graph = loaded.resolve_asset_graph()
    keys = {*graph.get_all_asset_keys(), *(check.asset_key for check in graph.asset_check_keys)}
    assert {tuple(key.path[:-1]) for key in keys} == {("solar_cells",)}
    sets = {graph.get(key).partitions_def for key in keys} - {None}
    assert {one.name for one in sets} == {
        "solar_cells_deliveries", "solar_cells_exports", "solar_cells_candidates"
    }  # fmt: skip


def test_a_project_s_name_that_only_yaml_understands_is_refused(tmp_path):
    text = (ROOT / "specs" / "solar_cells.yaml").read_text()
    (tmp_path / "spec.yaml").write_text(text.replace("name: solar_cells\n", "? name\n: solar_cells\n"))
    with pytest.raises(SpecError, match="write `name: solar_cells` in a line of its own"):
        definitions(Deployment(tmp_path / "spec.yaml", tmp_path, "main", "http://127.0.0.1:3000"))
