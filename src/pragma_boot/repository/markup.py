"""A small, bounded XML reader for documents that strangers wrote.

It keeps the line of each element, so that every fault of a document can name its place. Document type
declarations are refused at their first character: no entity is ever declared, expanded or fetched. Size, depth and
the number of elements are bounded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.parsers import expat

from pragma_boot.errors import Fault, ImageError

SIZE_LIMIT = 4 * 1024 * 1024
"""Larger documents are refused, bytes; real ones have some 3 KiB."""

DEPTH_LIMIT = 64
ELEMENT_LIMIT = 20_000


@dataclass(slots=True)
class Element:
    """An element: its *text* is what stands directly in it, without the white space around it."""

    tag: str
    attributes: dict[str, str]
    line: int
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def get(self, attribute: str) -> str | None:
        """An attribute without the white space around it; None when it is missing."""
        value = self.attributes.get(attribute)
        return None if value is None else value.strip()

    def find(self, tag: str) -> Element | None:
        """The first child of that tag, or None."""
        return next(self.all(tag), None)

    def all(self, tag: str) -> Iterator[Element]:
        """The children of that tag."""
        return (child for child in self.children if child.tag == tag)

    def iter(self, tag: str) -> Iterator[Element]:
        """The elements of that tag at any depth below this one, in document order."""
        for child in self.children:
            if child.tag == tag:
                yield child
            yield from child.iter(tag)


def read(data: bytes, origin: str) -> Element:
    """Read a document; returns its root element.

    origin: path or URL, for messages.

    Raises ImageError when the document is empty, larger than SIZE_LIMIT, no well-formed XML, declares a document
    type, or is nested deeper or longer than the limits.
    """
    if len(data) > SIZE_LIMIT:
        raise too_large(origin)
    if not data.strip():
        raise _broken(origin, 1, "the document is empty")
    return _Builder(origin).build(data)


def too_large(origin: str) -> ImageError:
    """The error for a document above SIZE_LIMIT; for readers that stop there."""
    return _broken(origin, 1, f"the document is larger than {SIZE_LIMIT // 1024 // 1024} MiB")


class _Builder:
    """Turns expat's calls into elements."""

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._open: list[tuple[Element, list[str]]] = []
        self._root: Element | None = None
        self._count = 0
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartDoctypeDeclHandler = self._doctype
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text

    def build(self, data: bytes) -> Element:
        try:
            self._parser.Parse(data, True)
        except expat.ExpatError as error:
            what = f"not well-formed XML: {expat.ErrorString(error.code)} (column {error.offset + 1})"
            raise _broken(self._origin, error.lineno, what) from error
        except (ValueError, LookupError) as error:  # an encoding that Python does not know or cannot use here
            raise _broken(self._origin, 1, "its encoding is not supported, use UTF-8") from error
        assert self._root is not None  # expat refuses documents without an element
        return self._root

    def _doctype(self, *_: object) -> None:
        raise self._refuse("document type declarations (<!DOCTYPE …>) and entities are not allowed")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if self._count > ELEMENT_LIMIT:
            raise self._refuse(f"more than {ELEMENT_LIMIT} elements")
        if len(self._open) >= DEPTH_LIMIT:
            raise self._refuse(f"elements are nested deeper than {DEPTH_LIMIT}")
        element = Element(tag, attributes, self._parser.CurrentLineNumber)
        if self._open:
            self._open[-1][0].children.append(element)
        else:
            self._root = element
        self._open.append((element, []))

    def _end(self, _: str) -> None:
        element, pieces = self._open.pop()
        element.text = "".join(pieces).strip()

    def _text(self, text: str) -> None:
        self._open[-1][1].append(text)

    def _refuse(self, what: str) -> ImageError:
        return _broken(self._origin, self._parser.CurrentLineNumber, what)


def _broken(origin: str, line: int, what: str) -> ImageError:
    return ImageError(
        f"the image description {origin} cannot be read",
        details=str(Fault(f"{origin}:{line}", what)),
        resolution="mend the document; docs/vc-documents.md describes its form",
    )
