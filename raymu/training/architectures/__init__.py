"""Architectures of timm, torchvision and transformers, by their names, with weights from local files.

Nothing is ever downloaded: a file or a folder of weights is the user's to provide.
"""
