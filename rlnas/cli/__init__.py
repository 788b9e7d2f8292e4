"""The command line: thin; every command says what to do next. Exit status: 0, 1 failed, 2 wrong use."""

# Their commands join the app in this order.
from rlnas.cli import run, look, suggest, winner, store, kubeflow  # noqa: F401, I001
from rlnas.cli.common import app, fail
from rlnas.errors import ExportError, RunFailed, SearchDeleted, StoreError, UserError


def main() -> None:
    """Run the command line, and turn errors into one line."""
    try:
        app()
    except (UserError, StoreError) as error:  # a run that the store fails midway is a RunFailed
        fail(error, 2)
    except (RunFailed, SearchDeleted, ExportError) as error:
        fail(error, 1)
    except OSError as error:  # a folder that cannot be made, a file that cannot be written, a full disk
        fail(f"{error.filename or 'this machine'}: {error.strerror or error}", 2)
