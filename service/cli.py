"""The command `vaegis`: its parser, and how errors become messages and exit codes."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from vaegis.service.commands import generate, inspect, key, promote, report, score, serve, verify
from vaegis.service.errors import EXIT_ARTIFACT, AlphaError, ArtifactError, ServiceError, SettingsError
from vaegis.service.terminal import printable

EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141

_COMMANDS = (serve, score, inspect, report, verify, generate, promote, key)
_EXIT_CODES = f"""exit codes:
  0  done
  {EXIT_FAILURE}  a file of records cannot be read or written, or its records do not fit the model
  {EXIT_USAGE}  the command line or a setting is wrong
  {EXIT_ARTIFACT}  the model file cannot be used
  {EXIT_INTERRUPTED}  interrupted"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The arguments, without the program's name; those of the process if None.

    Returns:
        The exit code.
    """
    args = _parser().parse_args(argv)
    try:
        code: int = args.func(args) or 0
        sys.stdout.flush()
    except ServiceError as error:
        return _print_error(error, _exit_code(error))
    except BrokenPipeError:
        # Whoever read our output has what they wanted.
        _discard_output()
        return EXIT_BROKEN_PIPE
    except OSError as error:
        _discard_output()
        return _print_error(error, EXIT_FAILURE)
    except KeyboardInterrupt:
        return _print_error("interrupted", EXIT_INTERRUPTED)
    return code


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="vaegis",
        description="Score records with a model that vaegis-train wrote, and say which columns are anomalous.",
        epilog=_EXIT_CODES,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {_version()}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in _COMMANDS:
        command.add_parser(subparsers)
    return parser


def _version() -> str:
    try:
        return version("vaegis")
    except PackageNotFoundError:
        return "(not installed)"


def _exit_code(error: ServiceError) -> int:
    if isinstance(error, ArtifactError):
        return EXIT_ARTIFACT
    return EXIT_USAGE if isinstance(error, AlphaError | SettingsError) else EXIT_FAILURE


def _print_error(reason: object, code: int) -> int:
    print("vaegis: error:", printable(str(reason)), file=sys.stderr)
    return code


def _discard_output() -> None:
    """Keep the interpreter from flushing, when it ends, what can no longer be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
