"""The errors a person sees: each is one line that says what was wrong, where, and what is allowed."""


def one_line(error: object, limit: int = 800) -> str:
    """Return what an error says as one printable line, whatever a person's input brought into it.

    Args:
        error: the error.
        limit: characters; from a longer line some are left out before its end, which says what is allowed.
    """
    words = " ".join(str(error).split())
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in words)
    return line if len(line) <= limit else f"{line[: limit // 2]} … {line[-limit // 2 :]}"


class UserError(ValueError):
    """Input that a person can mend. Raised before anything is started; the command line exits with 2."""


class StoreError(RuntimeError):
    """The object store cannot be used: down, refusing the keys, full, or without conditional writes.

    The text names the endpoint and the object, never a credential or a signed address.
    """


class RunFailed(RuntimeError):
    """A run ended before its goal. Nothing finished is lost; running again continues."""


class SearchDeleted(RuntimeError):
    """The search this task belongs to was deleted, or deleted and created anew."""


class ChildFailure(Exception):
    """A child that cannot be scored, by its own fault: a recorded result, never a dead run.

    Args:
        reason: one of `not_finite`, `diverged`, `dead`, `out_of_memory`, `bad_shape`, `timeout`, `over_limit`, `error`.
        detail: one line for the person who looks at the result.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class ExportError(RuntimeError):
    """An exported model cannot be made, or does not compute what the trained one does. Nothing of it is kept."""
