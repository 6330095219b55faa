"""One file for each command of `vaegis`."""

from argparse import ArgumentParser, _SubParsersAction
from typing import TypeAlias

Subparsers: TypeAlias = "_SubParsersAction[ArgumentParser]"
"""Each command adds its parser to these."""
