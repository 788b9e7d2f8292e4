"""rlnas: neural architecture search with reinforcement learning (Zoph & Le, ICLR 2017) on Kubeflow."""
