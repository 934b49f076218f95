"""What a run shows of itself while it works, without naming anybody.

`metrics` is the table of Prometheus metrics, `collector` measures a run, and `log_fields` says what may be logged.
"""
