"""Trials of a hybrid boundary: a trace of requests, replayed with real remedies on a branch of a trained run."""
