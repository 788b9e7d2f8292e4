"""The image that tasks run in unless a run says otherwise: this package, kfp and torch, nothing to install."""

BASE_IMAGE = "rlnas:latest"
