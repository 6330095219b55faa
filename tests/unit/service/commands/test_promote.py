"""`vaegis promote` and `vaegis rollback`: what they check, write and say."""

from __future__ import annotations

import pytest

from vaegis.service.model_folder import live_version, read_pointer


@pytest.fixture
def models(tmp_path, golden_model):
    (tmp_path / "orders").mkdir()
    for version in ("1", "2"):
        (tmp_path / "orders" / f"{version}.onnx").write_bytes(golden_model.read_bytes())
    return tmp_path


def test_a_promotion_and_its_rollback_say_what_is_live(vaegis, models):
    assert vaegis("promote", "orders", "1", "--models", models).code == 0
    ended = vaegis("promote", "orders", "2", "--models", models, "--allow-schema-change")
    assert ended.code == 0
    assert ended.out.startswith("orders: 2 (sha256:")
    assert ended.out.endswith(") is live; before: 1\n")
    assert read_pointer(models, "orders").live.allow_schema_change
    ended = vaegis("rollback", "orders", "--models", models)
    assert (ended.code, ended.out.endswith("is live again\n")) == (0, True)
    assert live_version(models, "orders")[0] == "1"


def test_a_version_is_put_into_shadow_and_taken_out(vaegis, models):
    assert vaegis("shadow", "orders", "2", "--models", models).code == 3  # no version is live
    vaegis("promote", "orders", "1", "--models", models)
    ended = vaegis("shadow", "orders", "2", "--models", models)
    assert (ended.code, ended.out.endswith(") is in shadow of 1\n")) == (0, True)
    assert read_pointer(models, "orders").shadow.version == "2"
    assert vaegis("shadow", "orders", "--stop", "--models", models).code == 0
    assert read_pointer(models, "orders").shadow is None
    assert vaegis("shadow", "orders", "--models", models).code == 2


def test_a_gate_that_does_not_hold_keeps_the_live_version(vaegis, models):
    vaegis("promote", "orders", "1", "--models", models)
    for gate, code in (("records>1", 1), ("nonsense", 2)):
        ended = vaegis("promote", "orders", "2", "--models", models, "--gate", gate, "--url", "http://127.0.0.1:1")
        assert (ended.code, live_version(models, "orders")[0]) == (code, "1")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("promote", "orders", "3"), r"3.onnx: cannot be read: No such file"),
        (("promote", "orders", "broken"), "expected a file written by vaegis-train"),
        (("promote", "..", "1"), "model name: expected"),
        (("promote", "orders", "../1"), "version name: expected"),
        (("promote", "orders", "1", "--digest", "sha256:" + "0" * 64), "expected the digest"),
        (("rollback", "orders"), "no version was live before"),
        (("rollback", "refunds"), "refunds: expected the folder of a model, got none; "),
    ],
)
def test_what_cannot_be_promoted_leaves_the_pointer_alone(vaegis, models, arguments, message):
    (models / "orders" / "broken.onnx").write_bytes(b"x" * 1000)
    vaegis("promote", "orders", "2", "--models", models)
    before = (models / "orders" / "live.json").read_bytes()
    ended = vaegis(*arguments, "--models", models)
    assert ended.code == 3
    assert message in ended.err
    assert (models / "orders" / "live.json").read_bytes() == before


def test_a_folder_is_not_served_with_the_digest_of_one_file(vaegis, models):
    ended = vaegis("serve", models, "--port", "0", "--digest", "sha256:" + "0" * 64)
    assert (ended.code, "pointer files have one for each version" in ended.err) == (2, True)
