import os

from benchmarks.conditions import is_current


def test_a_model_is_current_when_it_is_no_older_than_the_code_that_trains(tmp_path):
    model = tmp_path / "model.onnx"
    assert not is_current(model)
    model.write_bytes(b"")
    assert is_current(model)
    os.utime(model, (0, 0))
    assert not is_current(model)
