"""WordPiece, as BERT without capitals has it: words, and the longest known pieces of each."""

import unicodedata

LONGEST = 100
CJK = ((0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2FA1F), (0xF900, 0xFAFF))


class WordPiece:
    """Text -> numbers of pieces, between [CLS] and [SEP]."""

    def __init__(self, vocabulary):
        self._numbers = {piece: number for number, piece in enumerate(vocabulary)}

    def pieces(self, text, most):
        """At most *most* numbers; the text's end is cut off where there are more."""
        numbers = [self._numbers[piece] for word in _words(text) for piece in self._split(word)]
        return [self._numbers["[CLS]"], *numbers[: most - 2], self._numbers["[SEP]"]]

    def _split(self, word):
        found, start = [], 0
        while start < len(word) <= LONGEST:
            front = "##" if start else ""
            ends = range(len(word), start, -1)
            end = next((end for end in ends if front + word[start:end] in self._numbers), None)
            if end is None:
                return ["[UNK]"]
            found.append(front + word[start:end])
            start = end
        return found or ["[UNK]"]


def _words(text):
    """Lower case, without accents; each sign of punctuation is a word."""
    bare = unicodedata.normalize("NFD", "".join(map(_cleaned, text)).lower())
    bare = "".join(sign for sign in bare if unicodedata.category(sign) != "Mn")
    return "".join(f" {sign} " if _alone(sign) else sign for sign in bare).split()


def _cleaned(sign):
    if sign in "\t\n\r" or unicodedata.category(sign) == "Zs":
        return " "
    return "" if unicodedata.category(sign).startswith("C") or sign == "\ufffd" else sign


def _alone(sign):
    code = ord(sign)
    marks = 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126
    letters = any(first <= code <= last for first, last in CJK)
    return marks or letters or unicodedata.category(sign).startswith("P")
