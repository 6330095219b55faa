"""`vaegis verify`."""

from __future__ import annotations

import re

from vaegis.service.model_file import digest_entry
from vaegis.service.runtime import VERSION


def test_a_model_that_is_reproduced_is_reported_with_its_runtime(vaegis, golden_model):
    ended = vaegis("verify", golden_model)
    assert ended.code == 0
    assert re.fullmatch(
        rf".*: \d+ golden records reproduced by onnxruntime {re.escape(VERSION)}; largest difference \S+\n",
        ended.out,
    )


def test_a_path_cannot_steer_the_terminal(vaegis, golden_model, tmp_path):
    path = tmp_path / "a\x1b[2J.onnx"
    path.write_bytes(golden_model.read_bytes())
    ended = vaegis("verify", path)
    assert ended.out.startswith(f"{tmp_path}/a\\x1b[2J.onnx: ")


def test_scores_that_are_not_reproduced_end_with_exit_code_3(vaegis, golden_model, tmp_path):
    whole = golden_model.read_bytes()
    body = whole[: -len(digest_entry(b""))]
    start = body.rindex(b'"score":') + len(b'"score":')
    # Another first digit in the last of the stored scores.
    at = next(i for i in range(start, start + 20) if body[i : i + 1].isdigit())
    other = b"9" if body[at : at + 1] != b"9" else b"1"
    altered = body[:at] + other + body[at + 1 :]
    path = tmp_path / "altered.onnx"
    path.write_bytes(altered + digest_entry(altered))
    ended = vaegis("verify", path)
    assert ended.code == 3
    assert re.fullmatch(rf"vaegis: error: {re.escape(str(path))}: golden records: expected a score of .*\n", ended.err)


def test_a_file_that_is_cut_off_ends_with_exit_code_3(vaegis, golden_model, tmp_path):
    path = tmp_path / "short.onnx"
    path.write_bytes(golden_model.read_bytes()[:-10])
    ended = vaegis("verify", path)
    assert (ended.code, ended.out, ended.err.count("\n")) == (3, "", 1)
    assert ended.err.startswith(f"vaegis: error: {path}: expected")
