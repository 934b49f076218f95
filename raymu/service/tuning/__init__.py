"""The search for unlearning settings: each choice is scored on a branch of the run.

`objective` scores one choice with the help of `branch_repairs`, `search_folder` owns the search's directory, and `report`
ranks the trials.
"""
