"""The command for those who come from Katib: `convert`."""

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from rlnas.cli.common import app, console, next_step, print_table, told_on_standard_error, write_file
from rlnas.errors import UserError
from rlnas.yaml_text import read_yaml


@app.command()
def convert(
    experiment: Annotated[Path, typer.Argument(metavar="EXPERIMENT", help="YAML file of a NAS experiment of Katib")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="where to write the spec; standard output unless given")
    ] = None,
) -> None:
    """Make a spec of a Katib experiment, and say on standard error what became of each of its fields."""
    from rlnas.katib import convert as converted

    try:
        document = read_yaml(experiment.read_bytes())
    except OSError as error:
        raise UserError(f"{experiment}: cannot be read: {error.strerror}") from None
    except UserError as error:
        raise UserError(f"{experiment}: {error}") from None
    conversion = converted(document, str(experiment))
    if output is not None:
        write_file(output, conversion.text.encode())
    with told_on_standard_error():
        rows = [(row.field, row.fate, row.words) for row in conversion.rows]
        print_table(("field of the experiment", "is", "in the spec"), rows)
        if output is not None:
            console.print(f"spec: {output}", soft_wrap=True)
        next_step(f"rlnas validate {quote(str(output or 'SPEC'))}", "checks the spec and its data")
    if output is None:
        print(conversion.text, end="")
