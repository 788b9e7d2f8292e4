"""`python -m rlnas.cli`: the same as `rlnas`."""

from rlnas.cli import main

main()
