"""Texts of the user's own: each format, and every mistake with its line."""

import gzip
import json

import numpy as np
import pytest

from jaxfer.data import read_text_table
from jaxfer.typing import UserError

ROWS = [("Good, really.", "good"), ("Bad\tindeed", "bad"), ("„Fein“", "good"), ("No", "bad")]


def write(folder, name, rows=ROWS, header=("text", "label")):
    path = folder / name
    if ".jsonl" in name:
        content = "\n".join(json.dumps(dict(zip(header, row, strict=True))) for row in rows)
    else:
        separator = "\t" if ".tsv" in name else ","
        quoted = [[f'"{cell}"' for cell in row] for row in (header, *rows)]
        content = "\n".join(separator.join(row) for row in quoted)
    data = content.encode("utf-8")
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.csv.gz", "a.jsonl.gz"])
def test_every_format_gives_the_same(tmp_path, name):
    found = read_text_table(write(tmp_path, name), test_share=0.5)
    assert found.classes == ("bad", "good")
    both = np.concatenate([found.train.x, found.test.x])
    assert sorted(both) == sorted(text for text, _ in ROWS)
    assert sorted(found.train.y) == sorted(found.test.y) == [0, 1]


def test_labels_may_be_numbers_and_columns_have_other_names(tmp_path):
    rows = [("a b", 3), ("c", 1), ("d", 3), ("e", 1)]
    path = write(tmp_path, "a.jsonl", rows, ("body", "stars"))
    found = read_text_table(path, text="body", label="stars")
    assert found.classes == ("1", "3")
    with pytest.raises(UserError, match="line 1: has no 'text'; its columns are 'body', 'stars'"):
        read_text_table(path)


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([*ROWS, ("", "bad")], "line 6: its 'text' is no text"),
        ([*ROWS, ("Fine", " ")], "line 6: its 'label' is no label"),
        ([*ROWS, ("Fine", "odd")], "the class 'odd' has one text"),
        ([("a", "x"), ("b", "x")], "all texts have the label 'x'"),
        ([], "holds no text"),
    ],
)
def test_mistakes_are_named_with_their_line(tmp_path, rows, complaint):
    with pytest.raises(UserError, match=complaint):
        read_text_table(write(tmp_path, "a.csv", rows))


def test_files_that_cannot_be_read_are_refused(tmp_path):
    with pytest.raises(UserError, match="must end in .csv, .tsv, .jsonl"):
        read_text_table(tmp_path / "a.txt")
    with pytest.raises(UserError, match="cannot be read as text in UTF-8"):
        read_text_table(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_bytes(b"text,label\n\xff\xfe,1\n")
    with pytest.raises(UserError, match="cannot be read as text in UTF-8"):
        read_text_table(tmp_path / "b.csv")
    (tmp_path / "c.jsonl").write_text('{"text": "a", "label": 1}\n[1]\n')
    with pytest.raises(UserError, match="line 2: is no JSON object"):
        read_text_table(tmp_path / "c.jsonl")
    (tmp_path / "d.jsonl").write_text("{")
    with pytest.raises(UserError, match="line 1: is no JSON "):
        read_text_table(tmp_path / "d.jsonl")
