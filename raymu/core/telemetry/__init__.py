"""Measurements and log lines of a running coordinator, without names of people or samples.

`metrics` is the table of Prometheus metrics, `collector` measures a run, and `log_fields` restricts the fields of log lines.
"""
