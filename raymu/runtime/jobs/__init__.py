"""Commands of raymu as Ray jobs. Unlike `ray job submit`, it never copies runs or ids, and it returns a result.

`submission` starts, follows and stops a job through the cluster's `dashboard`, `working_dir` selects the files to copy,
and `result` encrypts what the command returns, because the log that carries it stays on the cluster.
"""
