"""Membership inference: what a model's confidences reveal about the samples that it was trained on.

`signals` and `attacks` score membership, `roc` and `epsilon` turn scores into rates and bounds, and `oracle_comparison`
tests whether a model can be distinguished from retrained ones.
"""
