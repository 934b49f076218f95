"""Membership inference: what a model's confidences tell about which samples it was trained on."""
