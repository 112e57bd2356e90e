"""What happens to sentences on their way through a keyboard."""

from __future__ import annotations

from random import Random

_NEIGHBOURS = {
    "a": "sqz", "b": "vn", "c": "xv", "d": "sf", "e": "wr", "f": "dg", "g": "fh", "h": "gj", "i": "uo", "j": "hk",
    "k": "jl", "l": "k", "m": "n", "n": "bm", "o": "ip", "p": "o", "q": "wa", "r": "et", "s": "ad", "t": "ry",
    "u": "yi", "v": "cb", "w": "qe", "x": "zc", "y": "tu", "z": "xa",
}  # fmt: skip
_SHORTEST_TO_MISSPELL = 4


def add_noise(text: str, rng: Random) -> str:
    """Draw typing errors, odd spaces and punctuation for a prompt."""
    if rng.random() < 0.25:
        text = _misspell(text, rng)
        if rng.random() < 0.3:
            text = _misspell(text, rng)
    draw = rng.random()
    if draw < 0.06:
        text = text.replace("-", " ")
    elif draw < 0.09:
        text = text.replace(", ", " ").replace(",", " ")
    elif draw < 0.11:
        text = text.replace(" ", "  ", 1)
    elif draw < 0.13:
        text = text.replace("'", "")
    elif draw < 0.14:
        text = text.replace(" ", "_")
    return text


def _misspell(text: str, rng: Random) -> str:
    words = text.split(" ")
    long = [index for index, word in enumerate(words) if len(word) >= _SHORTEST_TO_MISSPELL and word.isalpha()]
    if not long:
        return text
    index = rng.choice(long)
    word = words[index]
    # the first letter is seldom wrong
    at = rng.randrange(1, len(word) - 1)
    match rng.randrange(4):
        case 0:
            word = word[:at] + word[at + 1 :]
        case 1:
            word = word[:at] + word[at] + word[at:]
        case 2:
            word = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
        case _:
            word = word[:at] + rng.choice(_NEIGHBOURS.get(word[at], "e")) + word[at + 1 :]
    words[index] = word
    return " ".join(words)
