"""The three things that keep arriving: deliveries of frames, label exports and candidates."""

import dagster as dg

deliveries = dg.DynamicPartitionsDefinition(name="deliveries")
exports = dg.DynamicPartitionsDefinition(name="exports")
candidates = dg.DynamicPartitionsDefinition(name="candidates")
