"""Show the user's text on rich's console."""

from rich.markup import escape

from vaegis.service.terminal import printable


def verbatim(text: str) -> str:
    r"""Return a name, or other text of the user's files, so that it is shown: neither markup nor control characters.

    >>> verbatim("[red]\x1b[2J")
    '\\[red]\\x1b[2J'
    """
    return escape(printable(text))
