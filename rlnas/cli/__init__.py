"""The command line: thin; every command says what to do next. Exit status: 0, 1 failed, 2 wrong use."""

import sys

from rlnas.cli.ending import one_line_endings, open_what_is_closed, print_what_can_be_printed, stopped_by_signals


def main() -> None:
    """Run the command line, and turn errors into one line."""
    open_what_is_closed()
    print_what_can_be_printed()
    with one_line_endings(), stopped_by_signals():
        # Within, because importing takes a second, in which much can happen. Their commands join the app in this order.
        from rlnas.cli import run, convert, look, suggest, life, winner, store, care, kubeflow  # noqa: F401, I001
        from rlnas.cli.common import app

        try:
            app()
        finally:
            sys.stdout.flush()
