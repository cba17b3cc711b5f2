"""A workspace of Dagster with a code location per project: each is loaded in processes of its own.

A location is a file of three lines, for a workspace can give a location no environment. Dagster executes it again in
the process of each run and of each step.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from resources.deployments import ROOT

WORKSPACE: Final = "workspace.yaml"

_LOCATION: Final = """import os
os.environ["CV_SPEC"] = {spec_file!r}
from cv_assets.definitions import defs
"""


def write_workspace(folder: Path, projects: Mapping[str, Path]) -> Path:
    """The workspace in `folder` of these projects, spec file by name; what an earlier one held is left out."""
    places = folder / "locations"
    places.mkdir(parents=True, exist_ok=True)
    for name, spec_file in projects.items():
        (places / f"project_{name}.py").write_text(_LOCATION.format(spec_file=str(spec_file.resolve())))
    locations = [
        {
            "python_file": {
                "relative_path": str((places / f"project_{name}.py").resolve()),
                "working_directory": str(ROOT),
                "location_name": name,
            }
        }
        for name in projects
    ]
    workspace = folder / WORKSPACE
    workspace.write_text(json.dumps({"load_from": locations}, indent=2))  # JSON is YAML
    return workspace
