"""Small files that cost much: each is read or refused within its limits, and the next file is read after it."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from time import monotonic

import pyarrow as pa
import pytest

from core.errors import ObjectError
from tests.udfs.test_parsing import avro, parquet, pdf_of, slow_pdf
from udfs.parsing.files import Limits, Options
from udfs.parsing.sandbox import Sandboxes, TooSlow

LIMITS = Limits(rows=10_000, text=2**20, memory=300 * 2**20, seconds=4)
START_S = 60.0
"""How long a parser that had to be stopped may take to start anew, on a machine that is busy."""

EMPTY = avro([], [{}])
RECORD = avro([{"name": "t", "type": "string"}], [{"t": "hi"}])
ENTITIES = "".join(f'<!ENTITY l{at} "{f"&l{at - 1};" * 10}">' for at in range(1, 10))


def flate(content: bytes) -> bytes:
    """A PDF of one page that draws this, compressed."""
    packed = zlib.compress(content, 9)
    return pdf_of(
        [
            b"<</Type/Catalog/Pages 2 0 R>>",
            b"<</Type/Pages/Count 1/Kids[3 0 R]>>",
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]/Contents 4 0 R>>",
            b"<</Filter/FlateDecode/Length %d>>stream\n%s\nendstream" % (len(packed), packed),
        ]
    )


def pages(tree: bytes) -> bytes:
    return pdf_of([b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages%s>>" % tree])


FILES: dict[str, tuple[str, bytes, str]] = {
    "depth of divisions": ("a.html", b"<html><body>" + b"<div>" * 100_000 + b"x", "no HTML that can be read"),
    "fonts in paragraphs": ("a.html", b"<html><body>" + b"<p><font>" * 100_000 + b"x", "no HTML that can be read"),
    "choices": ("a.html", b"<html><body>" + b"<select>" * 120_000 + b"text", "no HTML that can be read"),
    "headings around blanks": ("a.html", b"<html><body>" + b"<div><h1>" * 900 + b" " * 1_000_000, ""),
    "comments": ("a.html", b"<html><body>" + b"<!--x-->" * 120_000 + b"text", ""),
    "attributes": (
        "a.html", b"<html><body><p " + b" ".join(b"a%d=1" % at for at in range(90_000)) + b">x", "too slow",
    ),
    "entities of entities": (
        "a.html", f'<!DOCTYPE x [<!ENTITY l0 "lol">{ENTITIES}]><html><body>&l9;</body></html>'.encode(), "",
    ),
    "a field of CSV": ("a.csv", b'a,b\n1,"' + b"x" * 17_000_000 + b'"\n', "field larger than field limit"),
    "a quote that never closes": ("a.csv", b'a,b\n1,"' + b"x\n" * 500_000, "unexpected end of data"),
    "rows of CSV": ("a.csv", b"a\n" + b"1\n" * 520_000, "more than 10,000 rows"),
    "a line of JSON": ("a.jsonl", b'{"t":"' + b"y" * 30_000_000 + b'"}\n', "more than 1,048,576 characters"),
    "JSON in JSON": ("a.jsonl", b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "maximum recursion depth"),
    "digits": ("a.jsonl", b'{"a":' + b"9" * 1_000_000 + b"}", "no JSON in line 1"),
    "an exponent": ("a.jsonl", b'{"a":1e999999999}', ""),
    "rows of JSON": ("a.jsonl", b'{"a":1}\n' * 1_000_000, "more than 10,000 rows"),
    "a page unpacked": ("a.pdf", flate(b"q " * 50_000_000), "LimitReachedError|needs more than 300 MiB"),
    "forms in forms": ("a.pdf", slow_pdf(), "no text on any of its 1 pages"),
    "pages that are their own": ("a.pdf", pages(b"/Kids[2 0 R]/Count 1"), "no PDF that can be read"),
    "a count of pages": ("a.pdf", pages(b"/Kids[]/Count 999999999"), "no text on any of its 0 pages"),
    "a text of many rows": (
        "a.parquet",
        parquet({"t": pa.DictionaryArray.from_arrays(pa.array([0] * 1_000, pa.int32()), ["z" * 1_000_000])}),
        "needs more than 300 MiB|more than 1,048,576 characters",
    ),
    "rows of Parquet": ("a.parquet", parquet({"n" * 300: [1] * 200_000}), "more than 10,000 rows"),
    "a footer": ("a.parquet", parquet({"t": ["a"]})[:-8] + b"\xff\xff\xff\x7fPAR1", "no Parquet that can be read"),
    "a text of 2^60 bytes": (
        "a.avro", RECORD.replace(b"\x04hi", b"\x80" * 8 + b"\x20hi"), "no Avro that can be read",
    ),
    "10^15 records of no bytes": (
        "a.avro",
        EMPTY[: EMPTY.index(EMPTY[-16:]) + 16] + b"\x80\x80\xa6\xea\xaf\xe3\xc6\x03\x00" + EMPTY[-16:],
        "more than 10,000 rows",
    ),
}  # fmt: skip
"""What costs much of each: a name, what is in it, and what is said of it; "" where it is read."""


@pytest.fixture(scope="module")
def boxes() -> Iterator[Sandboxes]:
    made = Sandboxes(1, LIMITS)
    yield made
    made.close()


@pytest.mark.parametrize("what", FILES)
def test_a_file_costs_what_it_may_and_the_next_is_read(boxes: Sandboxes, what: str) -> None:
    name, content, reason = FILES[what]
    if reason:
        with pytest.raises((ObjectError, TooSlow)) as raised:
            boxes.parse(content, name, None, Options())
        said = "too slow" if raised.type is TooSlow else str(raised.value)
        # whatever it is, it has its time, which a busy machine may need for less
        assert any(each in said for each in (*reason.split("|"), "too slow")) and len(said) <= 1_000
    else:
        assert boxes.parse(content, name, None, Options())
    began = monotonic()
    assert b"next" in bytes(boxes.parse(b"next", "next.txt", None, Options())[0])
    assert monotonic() - began < START_S
