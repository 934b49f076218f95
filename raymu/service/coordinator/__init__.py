"""The coordinator of a run, which alone changes it.

`calls` has the calls on it and `client` sends them, `coordinator` answers them, `executor` executes what the board decides,
and `session` holds the store, the journal and the term for all of them.
"""
