"""The decisions of raymu as plain arithmetic on frozen records: pure functions and state machines without input or output.

`partition` says where a sample lives, `workload`, `remedies` and `planner` what a request costs and what is done, `board`
what a coordinator does next, and `events` and `receipt` what a run remembers. `planning` forecasts traffic, `audit` tests
what models leak, and `telemetry` says what is measured and logged.
"""
