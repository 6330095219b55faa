"""Names of months and weekdays in several languages, in English as `datetime.strptime` reads them."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final

_MONTHS: Final = (
    "january february march april may june july august september october november december",
    "januar februar maerz april mai juni juli august september oktober november dezember",
    "janner feber marz april mai juni juli august september oktober november dezember",
    "janvier fevrier mars avril mai juin juillet aout septembre octobre novembre decembre",
    "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
    "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre",
    "janeiro fevereiro marco abril maio junho julho agosto setembro outubro novembro dezembro",
    "januari februari maart april mei juni juli augustus september oktober november december",
    "januari februari mars april maj juni juli augusti september oktober november december",
    "stycznia lutego marca kwietnia maja czerwca lipca sierpnia wrzesnia pazdziernika listopada grudnia",
)
"""English, German, Austrian, French, Spanish, Italian, Portuguese, Dutch, Swedish and Polish, without accents."""
_WEEKDAYS: Final = (
    "monday tuesday wednesday thursday friday saturday sunday",
    "montag dienstag mittwoch donnerstag freitag samstag sonnabend sonntag",
    "lundi mardi mercredi jeudi vendredi samedi dimanche",
    "lunes martes miercoles jueves viernes sabado domingo",
    "lunedi martedi mercoledi giovedi venerdi sabato domenica",
    "segunda terca quarta quinta sexta sabado domingo",
    "maandag dinsdag woensdag donderdag vrijdag zaterdag zondag",
)
_SHORTEST: Final = 3  # letters of a month's beginning
_ENGLISH: Final = tuple(name.title() for name in _MONTHS[0].split())
_WORD: Final = re.compile(r"[^\W\d_]{2,}\.?")
_OF: Final = re.compile(r"\bdel? ")
"""Spanish and Portuguese, as in 1 de enero de 2024."""


def month_of(word: str) -> int | None:
    """Return the number of the month, 0 to 11, that a word names; None if it names none.

    >>> month_of("M\u00e4rz"), month_of("janv."), month_of("Sept"), month_of("rouge")
    (2, 0, 8, None)
    """
    return _MONTH_NUMBERS.get(_plain(word))


@lru_cache(maxsize=1 << 14)
def in_english(text: str, time_format: str) -> str:
    """Return a text with its names of months and weekdays as a format of `datetime.strptime` has them in English.

    >>> in_english("1. M\u00e4rz 2024", "%d. %B %Y"), in_english("1 de ene. de 2024", "%d %b %Y")
    ('1. March 2024', '1 Jan 2024')
    """
    has_dot = "%b." in time_format

    def named(found: re.Match[str]) -> str:
        word = found[0]
        # A weekday comes first: "mar." begins the French and the Spanish Tuesday, and March.
        if found.start() == 0 and time_format[:2] in ("%A", "%a") and _is_weekday(word):
            return "Monday" if time_format[:2] == "%A" else "Mon"  # The date says which it is.
        month = month_of(word)
        if month is not None and ("%b" in time_format or "%B" in time_format):
            name = _ENGLISH[month] if "%B" in time_format else _ENGLISH[month][:3]
            return f"{name}." if has_dot and word.endswith(".") else name
        return word

    return _WORD.sub(named, _OF.sub("", text))


def _is_weekday(word: str) -> bool:
    beginning = _plain(word)
    return any(name.startswith(beginning) for names in _WEEKDAYS for name in names.split())


def _plain(word: str) -> str:
    """Return a word in small letters, without accents and without a dot at its end."""
    letters = unicodedata.normalize("NFD", word.rstrip(".").casefold())
    return "".join(letter for letter in letters if not unicodedata.combining(letter))


def _month_numbers() -> dict[str, int]:
    """Return the number of the month, 0 to 11, of each name and of each beginning of one that has one meaning."""
    found: dict[str, set[int]] = {"mrz": {2}, "mrt": {2}}
    for names in _MONTHS:
        for month, name in enumerate(names.split()):
            for end in range(_SHORTEST, len(name) + 1):
                found.setdefault(name[:end], set()).add(month)
    return {name: min(numbers) for name, numbers in found.items() if len(numbers) == 1}


_MONTH_NUMBERS: Final = _month_numbers()
