"""Check a spec before anything is started: python -m cv_assets.spec specs/mine.yaml."""

import sys
from pathlib import Path

from cv_assets.spec.load import SpecError, digest, load_spec

try:
    spec = load_spec(Path(sys.argv[1]))
except SpecError as error:
    sys.exit(str(error))
print(f"{sys.argv[1]} is valid: {spec.name}, {len(spec.training.models)} models, version {digest(spec)}.")
