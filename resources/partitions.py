"""The three things that keep arriving: deliveries of frames, label exports and candidates."""

from typing import Final

import dagster as dg

DELIVERIES: Final = "deliveries"
EXPORTS: Final = "exports"
CANDIDATES: Final = "candidates"

deliveries = dg.DynamicPartitionsDefinition(name=DELIVERIES)
exports = dg.DynamicPartitionsDefinition(name=EXPORTS)
candidates = dg.DynamicPartitionsDefinition(name=CANDIDATES)
