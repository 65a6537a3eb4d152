"""Random answers that look like words: how much each letter is preferred, whatever came before."""

import math

# How often the answer's characters appear, in percent: roughly English. Words end with an underscore: a grammar for
# JSON allows spaces nearly everywhere, and a model that prefers them never comes to an end there.
LETTERS = {
    **{"_": 17.0, "e": 10.0, "t": 7.5, "a": 6.7, "o": 6.2, "i": 5.8, "n": 5.6, "s": 5.2, "h": 5.0, "r": 4.9},
    **{"d": 3.5, "l": 3.3, "c": 2.3, "u": 2.3, "m": 2.0, "w": 1.9, "f": 1.8, "g": 1.7, "y": 1.6, "p": 1.6},
    **{"b": 1.2, "v": 0.8, "k": 0.6, ".": 1.0, ",": 0.9},
}
#: What JSON and XML consist of besides: never within text, and before a space where a grammar allows only such.
STRUCTURE = '"{}[]:<>/='
RARE, UNWANTED = -9.0, -20.0


def preferences(vocabulary: int, end_id: int, end_share: float, carried: float) -> list[float]:
    """For each token the first column of an output head that meets `carried` there: its logarithm of a share.

    `end_share` is the end token's, in percent.
    """
    shares = {ord(letter): share for letter, share in LETTERS.items()} | {end_id: end_share}
    wanted = {token: math.log(share) for token, share in shares.items()} | {ord(mark): RARE for mark in STRUCTURE}
    return [wanted.get(token, UNWANTED) / carried for token in range(vocabulary)]
