"""Verification: whether a run is what its journal says, and serves nothing that descends from a revoked sample."""
