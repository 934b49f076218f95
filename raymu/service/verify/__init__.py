"""Verification: whether a run is what its journal says, and serves nothing that descends from a revoked sample.

`verify` runs the rows of `checks` on the `evidence` (the journal, and what must follow from it); `descent`, `leftovers` and
`replay` are the checks that need a file of their own.
"""
