"""The command line: arguments, exit codes, and where the output goes. What it does stands in :mod:`rdl.pipeline`.

Exit codes: 0 done, 2 the user's input is wrong (a line or two on stderr say what and what to do), 3 a leak was found
where that was to count as a failure, 1 a fault of rdl's.
"""

from __future__ import annotations

import json
import sys

import typer

from rdl.cli import looking, models, tuning
from rdl.errors import LeakageError, RdlError

app = typer.Typer(
    help="Relational deep learning on any database.", no_args_is_help=True, pretty_exceptions_enable=False
)
app.add_typer(looking.app)
app.add_typer(models.app)
app.add_typer(tuning.app)


def main() -> None:
    """Runs the command line and exits."""
    try:
        app()
    except RdlError as error:
        sys.stderr.write(f"rdl: {error}\n")
        if isinstance(error, LeakageError):  # what was found has been printed
            sys.exit(3)
        if "--json" in sys.argv:
            sys.stdout.write(json.dumps(error.to_json(), ensure_ascii=False) + "\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.stderr.write("rdl: interrupted\n")
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
