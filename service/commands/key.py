"""`vaegis key`: make a key for a caller, and its line for the keys file."""

from __future__ import annotations

import sys
from argparse import Namespace

from vaegis.service.auth.keys import Access, Key, digest_of, new_key, parse_name, parse_rate, parse_scopes
from vaegis.service.commands import Subparsers

_DESCRIPTION = """Make a key. Its line goes to stdout, for the file that `vaegis serve --keys-file` names.
The key itself goes to stderr, only this once: it is not stored."""


def add_parser(subparsers: Subparsers) -> None:
    """Add the command and its flags."""
    parser = subparsers.add_parser(
        "key", help="make a key for a caller", description=_DESCRIPTION, epilog="vaegis key pipeline >> keys.txt"
    )
    parser.add_argument("name", help="its name in logs, such as its holder and the year")
    parser.add_argument(
        "--scopes",
        default=Access.SCORE.value,
        help=f"what it allows, separated by commas: {', '.join(Access)} (default %(default)s)",
    )
    parser.add_argument(
        "--records-per-s",
        metavar="RATE",
        help="its own rate limit, in records per second (default: the limit for all keys)",
    )
    parser.set_defaults(func=run)


def run(args: Namespace) -> None:
    """Print a key and its line."""
    name, scopes = parse_name(args.name), parse_scopes(args.scopes)
    rate = None if args.records_per_s is None else parse_rate(args.records_per_s)
    made = new_key()
    print(Key(name, scopes, digest_of(made.encode()), rate).line(), flush=True)
    print(f"the key, shown only now: {made}", file=sys.stderr)
