"""Delimited text: what is read, and what is refused with the line where it breaks."""

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockstep.data import RawTable, read
from lockstep.data.scan import scan
from lockstep.data.text import read_text
from lockstep.errors import DataError
from lockstep.spec import DataSpec


def rows_of(
    text: bytes, name: str = "t.csv", header: bool = True, encoding: str = "utf-8"
) -> list[tuple[str | None, ...]]:
    frame = read_text(text, name, header=header, encoding=encoding)
    return [tuple(frame.columns), *frame.rows()]


TABLE = [("a", "b"), ("1", "x"), ("2", "y")]


@pytest.mark.parametrize(
    "text",
    [
        b"a,b\n1,x\n2,y\n",
        b"a,b\n1,x\n2,y",
        b"a,b\r\n1,x\r\n2,y\r\n",
        b"a,b\r1,x\r2,y\r",
        b"a;b\n1;x\n2;y\n",
        b"a\tb\n1\tx\n2\ty\n",
        b"a|b\n1|x\n2|y\n",
        b"\xef\xbb\xbfa,b\n1,x\n2,y\n",
        b"\na,b\n\n1,x\n  \n2,y\n\n",
        b'"a","b"\n"1","x"\n"2","y"\n',
        b' a , b \n1,x\n2,"y"\n',
        b'a, "b"\n1, "x"\n2, "y"\n',
        gzip.compress(b"a,b\n1,x\n2,y\n", mtime=0),
    ],
)
def test_one_table_is_read_alike_however_it_is_written(text: bytes) -> None:
    assert rows_of(text) == TABLE


def test_quotes_hold_delimiters_newlines_and_quotes() -> None:
    assert rows_of(b'a,b\n"x, y","two\nlines"\n"say ""hi""",\n')[1:] == [("x, y", "two\nlines"), ('say "hi"', None)]


@pytest.mark.parametrize("field", [b'5" pipe', b'5" x 6" pipe', b'it"s'])
def test_a_quote_inside_a_field_is_a_character(field: bytes) -> None:
    assert rows_of(b"a,b\n" + field + b",1\nz,2\n")[1:] == [(field.decode(), "1"), ("z", "2")]


def test_a_file_without_header_gets_numbered_columns() -> None:
    assert rows_of(b"1,2\n3,4\n", header=False) == [("c0", "c1"), ("1", "2"), ("3", "4")]


def test_columns_without_a_name_are_named_by_their_place() -> None:
    assert rows_of(b",b,\n0,1,2\n")[0] == ("unnamed_0", "b", "unnamed_2")


def test_a_blank_line_in_a_single_column_is_a_missing_value() -> None:
    assert rows_of(b"a\n1\n\n3\n")[1:] == [("1",), (None,), ("3",)]


@pytest.mark.parametrize(
    ("text", "line", "fields"),
    [
        (b"a,b,c\n1,2,3\n4,5\n", 3, 2),
        (b"a,b,c\n1,2,3\n4,5,6,7\n1,2,3\n", 3, 4),
        (b'a,b,c\n"x\ny",2,3\n\n4,5\n', 5, 2),
        (b'a,b,c\n1,5" pipe,3\n\n4,5\n', 4, 2),
    ],
)
def test_a_line_with_too_few_or_too_many_fields_is_named(text: bytes, line: int, fields: int) -> None:
    with pytest.raises(DataError, match=f"line {line} has {fields}"):
        rows_of(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (b"a,b\n", "no rows"),
        (b"a,a\n1,2\n", "more than one column named a"),
        (b"1,1\n1,2\n", "--no-header"),
        (b'a,b\n1,"x\n2,y\n', "line 2 is never closed"),
        (b"PK\x03\x04rest", "zip or spreadsheet"),
        (bytes(range(256)) * 8, "binary"),
        (b"a,b\n1,\x00\n", "null bytes"),
        ("a,b\n1,é\n".encode("latin-1"), "line 2 holds the byte 0xe9.*data.encoding=latin-1"),
        ("a,b\n1,it’s\n".encode("cp1252"), "data.encoding=cp1252"),
        ("a,b\n1,é\n".encode("utf-16"), "data.encoding=utf-16"),
        (gzip.compress(b"a,b\n1,2\n" * 999, mtime=0)[:-20], "cannot be unpacked"),
    ],
)
def test_what_is_no_table_is_refused_with_the_reason(text: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        rows_of(text)


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-8-sig", "utf-8"])
def test_the_encoding_that_is_given_is_used(encoding: str) -> None:
    assert rows_of("ä,b\n1,é\n".encode(encoding), encoding=encoding) == [("ä", "b"), ("1", "é")]


def test_an_encoding_that_does_not_exist_is_named() -> None:
    with pytest.raises(DataError, match="klingon"):
        rows_of(b"a,b\n1,2\n", encoding="klingon")


fields = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\ufeff", exclude_categories=["Cs"]), max_size=6)


@given(st.integers(2, 4).flatmap(lambda w: st.lists(st.lists(fields, min_size=w, max_size=w), min_size=1, max_size=6)))
def test_any_table_comes_back_from_quoted_text(table: list[list[str]]) -> None:
    head = [f"n{i}" for i in range(len(table[0]))]
    text = "".join(",".join('"' + f.replace('"', '""') + '"' for f in row) + "\n" for row in [head, *table])
    assert [[f or "" for f in row] for row in rows_of(text.encode())[1:]] == table


def test_a_scan_across_chunks_counts_as_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    text = b'a,b\n"x,\ny",2\n"say ""hi""",3\n4,5\n' * 20
    whole = scan(text, ",")
    monkeypatch.setattr("lockstep.data.scan._CHUNK", 7)
    parts = scan(text, ",")
    assert (whole.fields == 2).all()
    assert (whole.ends == parts.ends).all()
    assert (whole.fields == parts.fields).all()
    assert parts.tidy
    assert parts.closed


def test_a_missing_file_is_named_with_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"no file .*trian.csv. Did you mean .*train.csv"):
        read(tmp_path / "trian.csv")
    with pytest.raises(DataError, match="no folder"):
        read(tmp_path / "nowhere" / "train.csv")


def test_a_file_without_a_byte_is_refused_with_what_to_give(tmp_path: Path) -> None:
    (tmp_path / "t.csv").touch()
    with pytest.raises(DataError, match=r"t.csv is empty \(0 bytes\). Give a file with rows."):
        read(tmp_path / "t.csv")


def test_the_fingerprint_is_the_sha256_of_the_file(tmp_path: Path) -> None:
    import hashlib

    path = tmp_path / "t.csv"
    path.write_bytes(b"a,b\n1,2\n")
    raw = read(path, DataSpec())
    assert isinstance(raw, RawTable)
    assert raw.fingerprint == hashlib.sha256(path.read_bytes()).hexdigest()
    assert raw.origin == "t.csv"


@pytest.mark.parametrize("name", ["t.xlsx", "t.json", "t.pkl", "t.npy", "t.pt"])
def test_files_of_other_kinds_are_refused_with_what_to_do(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"anything")
    with pytest.raises(DataError, match=r"save|loaded"):
        read(tmp_path / name)
