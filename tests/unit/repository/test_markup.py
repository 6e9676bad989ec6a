import pytest

from pragma_boot.errors import ImageError
from pragma_boot.repository import markup

BOMB = b"""<!DOCTYPE lolz [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">
<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]><vc>&c;</vc>"""


def details(data: bytes) -> str:
    with pytest.raises(ImageError) as caught:
        markup.read(data, "x.xml")
    assert caught.value.resolution
    return caught.value.details or ""


def test_elements_know_their_lines_texts_and_attributes() -> None:
    root = markup.read(b"<vc a=' 1 '>\n<!-- no -->\n<b>\n t<c/>u </b></vc>", "x.xml")
    child = root.find("b")
    assert child
    assert (root.get("a"), root.get("z"), child.line, child.text, root.find("c")) == ("1", None, 3, "tu", None)
    assert [found.line for found in root.iter("c")] == [4]


@pytest.mark.parametrize("quote", ["'", '"'])
def test_both_quotes_are_read(quote: str) -> None:
    assert markup.read(f"<vc a={quote}1{quote}/>".encode(), "x").get("a") == "1"


def test_other_encodings_are_read() -> None:
    latin = "<?xml version='1.0' encoding='iso-8859-1'?><vc a='é'/>".encode("latin-1")
    assert markup.read(latin, "x").get("a") == "é"
    assert markup.read("<?xml version='1.0' encoding='utf-16'?><vc a='é'/>".encode("utf-16"), "x").get("a") == "é"


@pytest.mark.parametrize("data", [b"", b" \n\t "])
def test_an_empty_document_says_so(data: bytes) -> None:
    assert details(data) == "x.xml:1: the document is empty"


@pytest.mark.parametrize("data", [b"<vc>\n<a>", b"<vc>\n</a></vc>", b"\n\x00\x01", b"\nhello", b"<vc/>\n<vc/>"])
def test_broken_xml_names_the_line(data: bytes) -> None:
    assert details(data).startswith("x.xml:2: not well-formed XML")


@pytest.mark.parametrize("encoding", ["nonsense", "utf-7", "rot13", "hex", "idna", "undefined"])
def test_odd_encodings_are_a_plain_error(encoding: str) -> None:
    assert details(f"<?xml version='1.0' encoding='{encoding}'?><vc/>".encode())


@pytest.mark.parametrize(
    "data",
    [
        BOMB,
        b"<!DOCTYPE vc SYSTEM 'file:///etc/passwd'><vc/>",
        b"<!DOCTYPE vc [<!ENTITY x SYSTEM 'http://192.0.2.1/'>]><vc>&x;</vc>",
        "<?xml version='1.0' encoding='utf-16'?><!DOCTYPE vc><vc/>".encode("utf-16"),
    ],
)
def test_document_types_are_refused(data: bytes) -> None:
    assert "<!DOCTYPE" in details(data)


def test_undeclared_entities_are_refused() -> None:
    assert "undefined entity" in details(b"<vc>&x;</vc>")


def test_ten_mebibytes_are_refused() -> None:
    assert details(b"<vc>" + b" " * (10 << 20) + b"</vc>") == "x.xml:1: the document is larger than 4 MiB"


def test_depth_is_bounded() -> None:
    deep = markup.DEPTH_LIMIT
    markup.read(b"<a>" * deep + b"</a>" * deep, "x")
    assert "deeper than 64" in details(b"<a>" * (deep + 1) + b"</a>" * (deep + 1))


def test_the_number_of_elements_is_bounded() -> None:
    assert "more than 20000 elements" in details(b"<a>" + b"<b/>" * markup.ELEMENT_LIMIT + b"</a>")
