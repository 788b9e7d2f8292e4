"""Kubeflow pipelines: the search's loop, and what compiles it."""
