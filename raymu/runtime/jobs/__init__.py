"""Commands of raymu as Ray jobs, for what `ray job submit` cannot do: keep runs and ids at home, and return a result.

`submission` starts, follows and stops a job through the cluster's `dashboard`, `working_dir` says which files travel with it,
and `result` encrypts what the command returns, because the log that carries it stays on the cluster.
"""
