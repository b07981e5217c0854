"""A template's Jinja made invisible to readers of HTML, fast: every piece becomes a short mark.

`utils.jinja_mask` does this for tools that write HTML and is exact, at 50 ms for 200 kB;
for looking only, finding the brackets is enough, at 2 ms. The marks keep the line ends of
their pieces, so that lines count as in the template.
"""

import re

_OPEN = re.compile(r"\{[{%#]")
_CLOSED_BY = {"{{": "}}", "{%": "%}", "{#": "#}"}
_MARK = re.compile("\x02(\\d+)\x03")
_BLOCK = re.compile(r"\{%[-+]?\s*(\w+)")
_OPENS = frozenset({"if", "for", "macro", "call", "filter", "with"})
_OURS = {0x02: " ", 0x03: " "}

# Placeholders of other systems, which ours would send as they are: Mailchimp, Mailgun,
# Salesforce, SendGrid, Smarty, and words in single brackets that nobody writes to be read.
FOREIGN = re.compile(
    r"\*\|[A-Z0-9_:=]{2,40}\|\*|%recipient\.\w{1,40}%|%%\w{2,40}%%|<%\s?[\w.]{2,40}\s?%>"
    r"|\{\$[\w.]{2,40}\}"
    r"|\{(?:first_?name|last_?name|email|unsubscribe(?:_url|_link)?)\}"
    r"|\[\[?(?:first_?name|fname|last_?name|unsubscribe(?:_url|_link)?)\]\]?",
    re.IGNORECASE,
)
MARK = "\x02"
"""Begins a mark; nothing else in a `Hidden.text` has this character."""


class Hidden:
    """A template with its Jinja hidden."""

    def __init__(self, source: str) -> None:
        self.pieces: list[str] = []
        self.text = "".join(self._marked(source.translate(_OURS)))

    def show(self, text: str) -> str:
        """Part of the hidden text as it is in the template."""
        return _MARK.sub(self._piece, text)

    def without(self, text: str) -> str:
        """Part of the hidden text, less the Jinja."""
        return _MARK.sub("", text)

    def outputs(self, text: str) -> list[str]:
        """What the `{{ … }}` in a part of the hidden text say."""
        marks = (self.pieces[int(mark)] for mark in _MARK.findall(text))
        return [piece for piece in marks if piece.startswith("{{")]

    def for_everybody(self) -> tuple[str, bool]:
        """What is said outside `{% if %}`, `{% for %}` and the like, and whether that is all."""
        said, depth, at, is_all = [], 0, 0, True
        for mark in _MARK.finditer(self.text):
            if depth <= 0:
                said.append(self.text[at : mark.start()])
            at = mark.end()
            word = _BLOCK.match(self._piece(mark))
            if word is not None and word[1] in _OPENS:
                depth, is_all = depth + 1, False
            elif word is not None and word[1].startswith("end"):
                depth -= 1
        if depth <= 0:
            said.append(self.text[at:])
        return "".join(said), is_all

    def line(self, place: int) -> int:
        return self.text.count("\n", 0, place) + 1

    def _marked(self, source: str) -> list[str]:
        made: list[str] = []
        at = 0
        never_closed: set[str] = set()  # looked for once: no piece of this kind ends any more
        for opening in _OPEN.finditer(source):
            start, kind = opening.start(), opening.group()
            if start < at or kind in never_closed:
                continue
            end = source.find(_CLOSED_BY[kind], start + 2)
            if end < 0:
                never_closed.add(kind)
                continue
            piece = source[start : end + 2]
            made += (source[at:start], f"\x02{len(self.pieces)}\x03", "\n" * piece.count("\n"))
            self.pieces.append(piece)
            at = end + 2
        made.append(source[at:])
        return made

    def _piece(self, mark: re.Match[str]) -> str:
        return self.pieces[int(mark.group(1))]
