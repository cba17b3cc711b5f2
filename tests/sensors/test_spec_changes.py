"""The sensor that publishes a changed spec, and what it says when it does not."""

import dagster as dg
import pytest
from by_hand import edit_spec

from cv_assets.spec.assets import project_spec
from cv_assets.spec.load import digest, load_spec
from resources.partitions import OURS
from sensors.spec_changes import spec_changes


@pytest.fixture
def tick(tables, deployment, instance):
    resources = {"tables": tables, "deployment": deployment}
    return lambda: spec_changes(dg.build_sensor_context(instance=instance, resources=resources))


def test_a_spec_that_was_never_published_is(tick, spec):
    request = tick()
    assert isinstance(request, dg.RunRequest)
    assert request.run_key == f"{digest(spec)}-after-nothing"


def test_nothing_is_done_while_the_file_is_in_force(tick, materialize, spec):
    materialize([project_spec])
    assert tick().skip_message == f"Version {digest(spec)} of spec.yaml is in force."


def test_every_change_asks_once_and_so_does_the_way_back(tick, materialize, deployment):
    keys = [tick().run_key]
    materialize([project_spec])
    for old, new in [("seed: 0", "seed: 1"), ("seed: 1", "seed: 0"), ("seed: 0", "seed: 1")]:
        edit_spec(deployment, old, new)
        assert tick().run_key == tick().run_key
        keys.append(tick().run_key)
        materialize([project_spec])
        assert isinstance(tick(), dg.SkipReason)
    assert len(set(keys)) == 4


def test_a_file_with_mistakes_is_told_in_full_and_requests_nothing(tick, deployment):
    edit_spec(deployment, "folds: 6", "folds: 1")
    edit_spec(deployment, "seed: 0", "sed: 0")
    assert tick().skip_message.startswith(f"{deployment.spec_file} has 2 mistakes:")
    assert "training.folds: got 1" in tick().skip_message
    assert "did you mean `seed`?" in tick().skip_message


def test_a_spec_that_could_not_be_published_is_told_and_not_tried_again(tick, materialize, deployment):
    edit_spec(deployment, "input_size: 112", "input_size: 113")
    version = digest(load_spec(deployment.spec_file))
    run = materialize([project_spec], tags={**OURS, "dagster/run_key": tick().run_key}, raise_on_error=False)
    assert tick().skip_message.startswith(f"Run {run.run_id} did not publish version {version} (failure)")
    edit_spec(deployment, "input_size: 113", "input_size: 112")
    assert isinstance(tick(), dg.RunRequest)


def test_a_spec_of_another_name_is_not_published_over_this_project_s(tick, materialize, deployment):
    materialize([project_spec])
    edit_spec(deployment, "name: solar_cells", "name: sun_cells")
    assert tick().skip_message.startswith(
        "This data is of project solar_cells, and the spec is now named sun_cells, which is another project"
    )


def test_a_publication_under_way_is_waited_for(tick, instance, spec):
    run = dg.DagsterRun(
        "publish_spec", tags={**OURS, "dagster/run_key": tick().run_key}, status=dg.DagsterRunStatus.STARTED
    )
    instance.add_run(run)
    assert tick().skip_message == f"Run {run.run_id} is publishing version {digest(spec)}."
