"""Files to rows: what people put in buckets, and what goes wrong with it."""

from __future__ import annotations

import gzip
import io
import json
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from time import perf_counter
from typing import Any

import fastavro
import pyarrow as pa
import pypdf
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet as pq

from core.documents.objects import Row, pieces
from core.errors import ObjectError
from udfs.parsing.files import Limits, Options, encoded, kind_of, parse


def rows(
    content: bytes | str, name: str, content_type: str | None = None, limits: Limits | None = None, **options: Any
) -> list[Row]:
    raw = content.encode() if isinstance(content, str) else content
    return list(parse(raw, name, content_type, Options(**options), limits or Limits()))


def one(content: bytes | str, key: str, content_type: str | None = None) -> dict[str, Any]:
    (row,) = rows(content, key, content_type)
    assert row.row_id == ""
    return dict(row.columns)


def pdf(*pages: str, title: str | None = None, password: str | None = None) -> bytes:
    """A PDF with a line of text a page, written by hand: pypdf writes none."""
    objects = [b"<</Type/Catalog/Pages 2 0 R>>", b"", b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"]
    kids = []
    for text in pages:
        stream = f"BT /F1 12 Tf 72 700 Td ({text}) Tj ET".encode("latin-1")
        objects.append(b"<</Length %d>>stream\n%s\nendstream" % (len(stream), stream))
        content = len(objects)
        objects.append(
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents %d 0 R/Resources<</Font<</F1 3 0 R>>>>>>"
            % content
        )
        kids.append(b"%d 0 R" % len(objects))
    objects[1] = b"<</Type/Pages/Count %d/Kids[%s]>>" % (len(kids), b" ".join(kids))
    raw = pdf_of(objects)
    if title is None and password is None:
        return raw
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(raw))
    if title is not None:
        writer.add_metadata({"/Title": title})
    if password is not None:
        writer.encrypt(user_password=password, owner_password="owner", algorithm="AES-256")
    written = io.BytesIO()
    writer.write(written)
    return written.getvalue()


def pdf_of(objects: list[bytes]) -> bytes:
    made = b"%PDF-1.7\n"
    places = []
    for number, body in enumerate(objects, start=1):
        places.append(len(made))
        made += b"%d 0 obj%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(objects) + 1
    return made + b"xref\n0 %d\n0000000000 65535 f \n%strailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (
        size,
        table,
        size,
        len(made),
    )


def slow_pdf() -> bytes:
    """A small PDF that takes hours: forms that draw a form ten times each, nine deep."""
    objects = [b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Count 1/Kids[3 0 R]>>", b"", b""]
    resources = b""
    for _ in range(9):
        drawn = b"/X Do " * 10 if resources else b"BT ET"
        form = b"<</Type/XObject/Subtype/Form/BBox[0 0 9 9]%s/Length %d>>stream\n%s\nendstream"
        objects.append(form % (resources, len(drawn), drawn))
        resources = b"/Resources<</XObject<</X %d 0 R>>>>" % len(objects)
    objects[2] = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]/Contents 4 0 R%s>>" % resources
    objects[3] = b"<</Length 5>>stream\n/X Do\nendstream"
    return pdf_of(objects)


def parquet(columns: dict[str, list[Any]], **options: Any) -> bytes:
    written = io.BytesIO()
    pq.write_table(pa.table(columns), written, **options)
    return written.getvalue()


def avro(fields: list[dict[str, Any]], records: list[dict[str, Any]], codec: str = "null") -> bytes:
    written = io.BytesIO()
    fastavro.writer(written, {"type": "record", "name": "r", "fields": fields}, records, codec=codec)
    return written.getvalue()


def test_a_text_is_one_document_as_it_is() -> None:
    assert one("Hello\r\nworld", "notes/a.txt") == {"title": "a.txt", "text": "Hello\nworld", "page": None, "row": None}


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        ("é漢😀".encode(), None),
        (b"\xef\xbb\xbf" + "é漢😀".encode(), None),
        ("\ufeffé漢😀".encode("utf-16-le"), None),
        ("\ufeffé漢😀".encode("utf-16-be"), None),
        ("\ufeffé漢😀".encode("utf-32-le"), None),
        ("é漢😀".encode("gb18030"), "text/plain; charset=GB18030"),
    ],
)
def test_the_encodings_that_say_what_they_are(content: bytes, content_type: str | None) -> None:
    assert one(content, "a.txt", content_type)["text"] == "é漢😀"


def test_utf_16_without_a_mark_is_recognised_by_its_zeros() -> None:
    assert one("plain text é".encode("utf-16-le"), "a.txt")["text"] == "plain text é"
    assert one("plain text é".encode("utf-16-be"), "a.txt")["text"] == "plain text é"


def test_a_file_of_mixed_encodings_is_read_line_by_line() -> None:
    content = "naïve \n".encode() + "café “quoted”".encode("cp1252") + b"\nend"
    assert one(content, "a.txt")["text"] == "naïve \ncafé “quoted”\nend"
    assert one(content, "a.txt", "text/plain; charset=no-such")["text"].endswith("end")


@given(st.binary(max_size=300))
def test_whatever_the_bytes_the_text_can_be_stored_or_is_refused(content: bytes) -> None:
    try:
        text = one(content, "a.txt")["text"]
    except ObjectError as error:
        assert str(error).startswith("a.txt ")
        return
    assert "\x00" not in text
    text.encode("utf-8")


def test_markdown_keeps_its_headings_and_takes_its_title() -> None:
    text = "# The *title*\n\nText\n\n## Part\n"
    assert one(text, "a.md")["text"] == text
    assert one(text, "a.md")["title"] == "The *title*"
    fronted = one("---\ntags: [a]\ntitle: 'From the front'\n---\n\n" + text, "a.md")
    assert (fronted["title"], fronted["text"]) == ("From the front", text)
    assert one("---\nnot: closed\n", "a.md")["text"] == "---\nnot: closed\n"


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("```sh\n# a comment\n```\n# The title\n", "The title"),
        ("~~~\n# a comment\n```\n# another\n~~~~\n# The title\n", "The title"),
        ("````\n```\n# a comment\n```\n````\n# The title\n", "The title"),
        ("```inline``` code\n# The title\n", "The title"),
        ("    ```\n# The title\n", "The title"),
        ("```\n# in a block that nothing closes\n", "a.md"),
        ("# The title\n```\n# a comment\n```\n", "The title"),
    ],
)
def test_a_comment_in_a_block_of_code_is_no_title(text: str, title: str) -> None:
    assert one(text, "a.md")["title"] == title


PAGE = """<!DOCTYPE html><html><head><title> A  page </title><style>p {color: red}</style></head><body>
<nav><a href="/">Home</a></nav><script>var x = "<p>no</p>";</script>
<h1>Top &amp; bottom</h1><p>First <b>para</b>graph
 goes on.</p><div>Loose text<p>Second</p>rest</div>
<h2>List</h2><ul><li>one</li><li>two<br>lines</li></ul>
<table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table>
<pre>  code
    indented</pre></body></html>"""


def test_html_becomes_headings_and_paragraphs() -> None:
    found = one(PAGE, "a.html")
    assert found["title"] == "A page"
    assert found["text"].split("\n\n") == [
        "# Top & bottom", "First paragraph goes on.", "Loose text", "Second", "rest", "## List", "- one",
        "- two\nlines", "a | b", "1 | 2", "code\nindented",
    ]  # fmt: skip


def test_html_in_a_declared_charset() -> None:
    content = '<html><head><meta charset="iso-8859-1"><title>é</title></head><body>café'.encode("latin-1")
    assert (one(content, "a")["title"], one(content, "a")["text"]) == ("é", "café")


@pytest.mark.parametrize("content", ["<div>" * 50_000 + "deep" + "</div>" * 50_000, "<b>" * 50_000])
def test_html_nested_too_deep_is_refused(content: str) -> None:
    with pytest.raises(ObjectError, match=r"a\.html is no HTML that can be read"):
        one(content, "a.html")


@pytest.mark.parametrize("content", ["<p>word <i>word</i>" * 100_000, "<p>" + "word " * 3_000_000, "<br>" * 500_000])
def test_large_pages_take_no_more_than_their_size(content: str) -> None:
    started = perf_counter()
    assert one(content, "a.html")["text"].count("word") == content.count("word")
    assert perf_counter() - started < 20


@pytest.mark.parametrize("content", ["", "  ", "<!-- nothing -->", "<script>x</script>"])
def test_html_that_says_nothing(content: str) -> None:
    assert (one(content, "a.html")["text"], one(content, "a.html")["title"]) == ("", "a.html")


def test_a_pdf_is_a_document_a_page() -> None:
    found = rows(pdf("First page", "", "Third page", title="The title"), "a.pdf")
    assert [row.row_id for row in found] == ["page 1", "page 3"]
    assert found[1].columns == {"title": "The title", "text": "Third page", "page": 3, "row": None}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (pdf("secret", password="secret"), "is an encrypted PDF: give it without a password"),
        (pdf("a", "b", "c"), "has 3 pages, more than 2"),
        (pdf("", ""), "no text on any of its 2 pages: scanned"),
        (b"%PDF-1.7\nnothing more", "is no PDF that can be read"),
        (pdf("text")[:-200], None),
        (b"just text", "is named .pdf but begins with b'just tex'"),
    ],
    ids=["encrypted", "pages", "scanned", "empty", "cut", "text"],
)
def test_what_a_pdf_can_have_wrong(content: bytes, reason: str | None) -> None:
    if reason is None:
        with suppress(ObjectError):
            rows(content, "a.pdf")
        return
    with pytest.raises(ObjectError, match=reason):
        rows(content, "a.pdf", limits=Limits(pages=2))


def test_a_pdf_that_only_its_owner_may_change_is_read() -> None:
    assert rows(pdf("open", password=""), "a.pdf")[0].columns["text"] == "open"


@pytest.mark.parametrize("cut", ["\n", "\r\n"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_csv_with_any_separator(separator: str, cut: str) -> None:
    content = cut.join([separator.join(line) for line in (["id", "text"], ["1", '"a, b; c"'], ["2", '"two\nlines"'])])
    found = rows(content, "a.csv", key=("id",))
    assert [row.row_id for row in found] == ["1", "2"]
    assert found[1].columns == {"id": "2", "text": "two\nlines", "row": 2}


def test_rows_without_key_keep_their_ids_when_others_come_before() -> None:
    before = rows("a,b\n1,x\n2,y\n2,y\n", "a.csv")
    after = rows("a,b\n0,new\n1,x\n2,y\n2,y\n", "a.csv")
    assert len({row.row_id for row in before}) == 3
    assert [row.row_id for row in after[1:]] == [row.row_id for row in before]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "b.json"])
def test_fractions_that_no_float_holds_keep_their_digits(name: str) -> None:
    """They were rounded: 0.1234567890123456789 became 0.12345678901234568, and nobody heard of it."""
    digits = "0.1234567890123456789"
    content = f'{{"key": {digits}, "x": 0.1, "t": "{digits}", "in": {{"x": {digits}}}}}'
    if name == "b.json":
        content += "{}"
    row, *_ = rows(content, name)
    found = {column: row.columns[column] for column in ("_key", "x", "t", "in")}
    assert found == {"_key": digits, "x": 0.1, "t": digits, "in": {"x": digits}}
    assert row.numbers == ("_key",)
    assert b"".join(pieces([row]))


def test_columns_called_as_the_objects_own_have_an_underscore() -> None:
    (row,) = rows("key,row,etag,text\n1,2,3,4\n", "a.csv", key=("key",))
    assert row == Row("1", {"_key": "1", "_row": "2", "_etag": "3", "text": "4", "row": 1})
    (row,) = rows(parquet({"key": [1], "text": ["t"], "more": [2]}), "a.parquet", key=("text",), columns=("_key",))
    assert row == Row("t", {"_key": 1, "row": 1})


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("id,text\n1,a\n1,b\n", "two rows, the second in row 2, with the same id"),
        ("id,text\n1,a\n,b\n", "has no id in row 2"),
        ("text\na\n", "has no id in row 1"),
        ("id,text\n1,a,b\n", "3 fields in line 2, and 2 in its header"),
        ("id,id\n1,a\n", "'id' twice"),
        ("id,\n1,a\n", "a column without a name"),
        ('id,text\n1,"a\n', "is no CSV in line"),
    ],
)
def test_what_a_csv_can_have_wrong(content: str, reason: str) -> None:
    with pytest.raises(ObjectError, match=reason):
        rows(content, "a.csv", key=("id",))


def test_lines_of_json() -> None:
    content = (
        '{"id": {"a": 1}, "n": 123456789012345678901, "x": [1.5, null]}\n\n{"id": 2, "t": "\\ud800\\u0000", "n": NaN}\n'
    )
    first, second = rows(content, "a.jsonl", key=("id",))
    columns = {"id": {"a": 1}, "n": "123456789012345678901", "x": [1.5, None], "row": 1}
    assert first == Row('[{"a":1}]', columns, ("n",))
    assert second == Row("2", {"id": 2, "t": "\ufffd\ufffd", "n": None, "row": 2})
    list(pieces([first, second]))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"a": 1}\n{"a": \n', "no JSON in line 2"),
        ("[1]\n", "no object in line 1"),
        ("[" * 100_000, "no JSON in line 1"),
    ],
)
def test_what_lines_of_json_can_have_wrong(content: str, reason: str) -> None:
    with pytest.raises(ObjectError, match=reason):
        rows(content, "a.jsonl")


def test_parquet_of_all_kinds_of_values() -> None:
    content = parquet(
        {
            "id": [1, 2],
            "text": ["a\x00b", None],
            "when": [datetime(2026, 1, 2, tzinfo=UTC)] * 2,
            "price": [Decimal("1.50"), None],
            "raw": [b"\xff", b"text"],
            "nan": [float("nan"), 1.5],
            "deep": [{"x": [1]}, None],
        },
        row_group_size=1,
    )
    first, second = rows(content, "a.parquet", key=("id",))
    assert first == Row(
        "1",
        {
            "id": 1, "text": "a\ufffdb", "when": "2026-01-02T00:00:00+00:00", "price": "1.50", "raw": "/w==",
            "nan": None, "deep": {"x": [1]}, "row": 1,
        },
        ("price",),
    )  # fmt: skip
    assert second.columns["raw"] == "text"
    list(pieces([first, second]))
    assert rows(content, "a.parquet", key=("id",), columns=("text",))[0].columns == {"text": "a\ufffdb", "row": 1}


def test_parquet_that_is_broken() -> None:
    content = parquet({"text": ["some text"] * 1_000})
    for broken in (content[:-20], content[:4] + content[-4:], content[:40] + b"\xff" * 60 + content[100:]):
        with pytest.raises(ObjectError, match="no Parquet that can be read"):
            rows(broken, "a.parquet")


def test_avro_with_its_logical_types() -> None:
    fields: list[dict[str, Any]] = [
        {"name": "id", "type": "long"},
        {"name": "text", "type": ["null", "string"]},
        {"name": "when", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    ]
    records: list[dict[str, Any]] = [
        {"id": 1, "text": "a", "when": datetime(2026, 1, 2, tzinfo=UTC)},
        {"id": 2, "text": None, "when": 0},
    ]
    content = avro(fields, records, codec="deflate")
    first, _ = rows(content, "a.avro", key=("id",))
    assert first == Row("1", {"id": 1, "text": "a", "when": "2026-01-02T00:00:00+00:00", "row": 1})
    with pytest.raises(ObjectError, match="no Avro that can be read"):
        rows(content[:-10], "a.avro")


@given(st.sampled_from(["pdf", "parquet", "avro", "html", "csv", "jsonl"]), st.binary(max_size=200))
def test_whatever_follows_a_good_beginning_is_read_or_refused(kind: str, rest: bytes) -> None:
    begin = {"pdf": b"%PDF-1.4\n", "parquet": b"PAR1", "avro": b"Obj\x01"}.get(kind, b"")
    try:
        list(pieces(rows(begin + rest, f"a.{kind}")))
    except ObjectError as error:
        assert "a." in str(error)


@pytest.mark.parametrize(
    ("content", "key", "content_type", "kind"),
    [
        (b"%PDF-1.7 ...", "a.txt", None, "pdf"),
        (b"\n\n%PDF-1.7", "a.pdf", None, "pdf"),
        (b"PAR1....PAR1", "a.csv", None, "parquet"),
        (b"Obj\x01....", "a", None, "avro"),
        (b"  <!doctype HTML><p>", "a", None, "html"),
        (b"<p>hello", "a", "text/html; charset=utf-8", "html"),
        (b"a,b", "a", "text/csv", "csv"),
        (b"a,b", "a.TSV", "text/html", "csv"),
        (b"# x", "README", None, "text"),
        (b"{}", "a.ndjson", None, "jsonl"),
        (b"", "a.pdf", None, "text"),
    ],
)
def test_what_a_file_is_read_as(content: bytes, key: str, content_type: str | None, kind: str) -> None:
    assert kind_of(content, key, content_type) == kind


@pytest.mark.parametrize(
    ("content", "key", "reason"),
    [
        (b"PK\x03\x04......", "a.docx", "a ZIP archive"),
        (b"\x1f\x8b\x08....", "a.csv", "compressed with gzip more than once"),
        (b"\x89PNG\r\n\x1a\n", "a.txt", "a PNG image"),
        (b"hello world", "a.parquet", "named .parquet but begins with b'hello wo'"),
        (b"\x01\x00\x02\x00\x00\x00abc" * 50, "a.txt", "not text, and of no kind"),
    ],
)
def test_what_is_not_read_is_refused_with_what_it_seems_to_be(content: bytes, key: str, reason: str) -> None:
    with pytest.raises(ObjectError, match=reason):
        kind_of(content, key)


@pytest.mark.parametrize(
    ("limits", "reason"),
    [(Limits(rows=10), "more than 10 rows"), (Limits(text=500), "more than 500 characters")],
)
def test_more_than_the_limits_is_refused(limits: Limits, reason: str) -> None:
    content = "\n".join(json.dumps({"text": "x" * 20}) for _ in range(100))
    with pytest.raises(ObjectError, match=reason):
        rows(content, "a.jsonl", limits=limits)


@pytest.mark.parametrize(
    ("content", "title"),
    [
        ("# a" + " " * 1_500 + "\x0bx\n", "a x"),
        ("#" + " " * 1_500 + "x" + " " * 1_500 + "y\n", "x y"),
        ("---\ntitle: a" + " " * 16_000 + "b\n---\n", "a b"),
        ("---\ntitle: ''\n---\n# From the text #\n", "From the text"),
        ("---  \ntitle: x\n---\t\ntext", "x"),
        ("---\n---\n# T", "T"),
        ("## C# ##\n", "C#"),
        ("# C#", "C#"),
        ("# ##\n#\n#  \n####### no\n###### six\n", "six"),
        ("#no\ttext", "a.md"),
    ],
)
def test_titles_of_markdown(content: str, title: str) -> None:
    assert one(content, "a.md")["title"] == title


FILES = Path(__file__).parents[1] / "fixtures" / "files"


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("09-trailing-separator.csv", [{"id": "1", "title": "first"}, {"id": "2", "title": "second"}]),
        ("11-blank-rows.csv", [{"id": "1", "title": "first"}]),
        ("12-firehose-concatenated.jsonl", [{"title": "f1", "text": "one"}, {"title": "f2", "text": "two"}]),
        ("14-rows.jsonl.gz", [{"title": "z1", "text": "one"}]),
        ("15-windows-1252.jsonl", [{"title": "café", "text": "one"}]),
    ],
)
def test_rows_as_people_have_them(name: str, columns: list[dict[str, str]]) -> None:
    found = rows((FILES / name).read_bytes(), name)
    assert [row.columns for row in found] == [{**each, "row": at} for at, each in enumerate(columns, start=1)]


def test_what_a_page_hides_is_not_said() -> None:
    assert one((FILES / "23-hidden.html").read_bytes(), "23-hidden.html")["text"] == "shown"


@pytest.mark.parametrize(
    ("hidden", "is_shown"),
    [
        ("<p hidden>x</p>", False),
        ("<p hidden='HIDDEN'>x</p>", False),
        ("<p hidden=until-found>x</p>", True),
        ("<div style='color: red; DISPLAY : None'>x</div>", False),
        ("<div style='display:none;display:block'>x</div>", True),
        ("<div style='display:none!important;display:block'>x</div>", False),
        ("<div style='display:block ! important;display:none'>x</div>", True),
        ("<div style='/* display:none */ color: red'>x</div>", True),
        ("<div style='display:/* a */none'>x</div>", False),
        ("<div style='background: none; visibility: visible'>x</div>", True),
        ("<div style='visibility:hidden'><b>x</b></div>", False),
        ("<span aria-hidden=true>x</span>", False),
        ("<span aria-hidden=false>x</span>", True),
        ("<dialog>x</dialog>", False),
        ("<dialog open>x</dialog>", True),
        ("<details><summary>more</summary>x</details>", True),
        ("<div hidden><p>a<p style='display:block'>x</div>", False),
        ("<template><p>x</p></template>", False),
        ("<noscript>x</noscript>", False),
        ("<datalist><option>x</datalist>", False),
        ("<math><semantics><mi>y</mi><annotation>x</annotation></semantics></math>", False),
        ("<svg><title>x</title></svg>", False),
    ],
)
def test_what_is_shown_and_what_is_not(hidden: str, is_shown: bool) -> None:
    said = one(f"<html><head></head><body>before {hidden} after</body></html>", "a.html")
    assert ("x" in said["text"].replace("\n", " ").split()) is is_shown
    assert said["text"].startswith("before") and said["text"].endswith("after")
    assert said["title"] == "a.html"


def test_a_page_that_a_script_shows_is_read_and_hidden_headings_are_no_titles() -> None:
    page = "<html hidden><body style='display:none'><h1 hidden>no</h1><svg><title>icon</title></svg><h1>yes</h1>"
    assert one(page, "a.html")["title"] == "yes"
    assert one("<table><tr><td>1</td><td hidden>2</td><td>3</td></tr></table>", "a.html")["text"] == "1 | 3"


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("id,title,,\n1,a,,\n2,b\n3,c,\n", [("1", "a"), ("2", "b"), ("3", "c")]),
        (",,\n\nid,title,\n , ,\n1,a,\n,,,,\n", [("1", "a")]),
        ("id,,title\n1,,a\n2, ,b\n", [("1", "a"), ("2", "b")]),
        ("sep=;\nid;title\n1;a,b\n", [("1", "a,b")]),
        ("sep=\t\r\nid\ttitle\r\n1\ta\r\n", [("1", "a")]),
        ('\ufeff"id";"title";\r\n"1";"a";\r\n', [("1", "a")]),
        (",\n,\n", []),
    ],
)
def test_csv_as_spreadsheets_write_it(content: str, found: list[tuple[str, str]]) -> None:
    assert [(row.columns["id"], row.columns["title"]) for row in rows(content, "a.csv")] == found


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("id,title,\n1,a,x\n", r"3 fields in line 2, and 2 in its header: one is in a column without a name"),
        ("id,,title\n1,x,a\n", "a column without a name"),
        ("id,title\n1,a,,x\n", "4 fields in line 2"),
        ("id,title,year\n1,a\n", "2 fields in line 2, and 3 in its header"),
        ("id,id,\n1,a,\n", "'id' twice"),
    ],
)
def test_values_that_no_column_has_are_refused(content: str, reason: str) -> None:
    with pytest.raises(ObjectError, match=reason):
        rows(content, "a.csv")


OBJECT = st.dictionaries(st.text(max_size=5), st.none() | st.integers(-9, 9) | st.text(max_size=5), max_size=3)


@given(st.lists(OBJECT, min_size=2, max_size=5), st.sampled_from(["", " ", "\n", "\r\n", "\n\n", "\x1e"]))
@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_objects_are_rows_however_they_stand(
    name: str, indent: int | None, objects: list[dict[str, Any]], between: str
) -> None:
    wanted = rows("\n".join(map(json.dumps, objects)), "a.jsonl")
    assert rows(between.join(json.dumps(each, indent=indent) for each in objects), name) == wanted
    assert rows(json.dumps(objects, indent=indent), name) == wanted
    assert rows(gzip.compress("\n".join(map(json.dumps, objects)).encode("utf-16")), f"{name}.gz") == wanted


def test_a_file_of_one_object_is_one_document() -> None:
    raw = '{\n "title": "T",\n "row": 7,\n "body": "b"\n}\n'
    assert one(raw, "a.json") == {"title": "T", "text": raw, "page": None, "row": None, "_row": 7, "body": "b"}
    assert one('{"a": 1}', "dir/a.json")["title"] == "a.json"
    assert one('{"a": 1}', "a", "application/json; charset=utf-8")["a"] == 1
    assert [row.row_id for row in rows('{"id": 5}', "a.json", key=("id",))] == ["5"]
    for raw in ("[1, 2]", '"text"', '[{"a": 1}, 2]', "null"):
        assert one(raw, "a.json")["text"] == raw
    assert rows("[]", "a.json") == rows(" \n", "a.json") == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"a": 1}\n{"a": 2}\n[{"a": 3}', "no JSON in line 3"),
        ('{"a": 1}{"a": 2}x', "no JSON in line 1: Expecting value"),
        ('{"a": 1}\n\n[3]', "no object in line 3"),
        ("// a comment\n{}", "no JSON in line 1"),
        ('{"a":' * 100_000, "no JSON in line 1"),
    ],
)
@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_what_json_can_have_wrong(content: str, reason: str, name: str) -> None:
    with pytest.raises(ObjectError, match=rf"{name} has {reason}|{name} is {reason}"):
        rows(content, name)


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.html", "a.csv", "a.pdf", "a.parquet"])
def test_what_is_compressed_is_read_as_what_it_is(name: str) -> None:
    content = {"a.pdf": pdf("x"), "a.parquet": parquet({"a": [1]})}.get(name, b"a,b\n1,2\n")
    plain = rows(content, name)
    for key in (f"{name}.gz", f"{name}.GZ", name):
        found = rows(gzip.compress(content), key)
        assert [row.columns.get("text") for row in found] == [row.columns.get("text") for row in plain]
    assert rows(gzip.compress(content[:3]) + gzip.compress(content[3:]), f"{name}.gz") == rows(
        gzip.compress(content), f"{name}.gz"
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (gzip.compress(b"a" * 1_001), "holds more than 1,000 bytes, compressed"),
        (gzip.compress(b"abc")[:-4], "compressed with gzip and broken"),
        (b"\x1f\x8b\x08....", "compressed with gzip and broken"),
        (gzip.compress(b"abc") + b"more", "compressed with gzip and broken"),
        (gzip.compress(gzip.compress(b"abc")), "compressed with gzip more than once"),
        (gzip.compress(b"\x00" * 257 + b"ustar\x00" + b"\x00" * 250), "a tar archive"),
        (gzip.compress(b"\x89PNG\r\n\x1a\n"), "a PNG image"),
    ],
    # without the bytes, in which gzip writes the time: processes of one run must name their tests alike
    ids=["too long", "cut", "no gzip", "more behind", "twice", "tar", "image"],
)
def test_what_compressed_files_can_have_wrong(content: bytes, reason: str) -> None:
    with pytest.raises(ObjectError, match=reason):
        rows(content, "a.txt.gz", limits=Limits(size=1_000))


def test_rows_are_bounded_with_the_names_of_their_columns() -> None:
    content = parquet({"n" * 300: [1] * 1_000})
    with pytest.raises(ObjectError, match=r"rows of more than 200,000 bytes, names of columns included"):
        encoded(content, "a.parquet", None, Options(), Limits(encoded=200_000))
    assert len(encoded(content, "a.parquet", None, Options(), Limits(encoded=400_000))) == 10
