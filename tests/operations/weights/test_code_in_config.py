"""Configuration that names code is found wherever it stands, and what merely looks so is not."""

from __future__ import annotations

import json

import pytest

from ingot.operations.weights.code_in_config import code_keys, refusal

pytestmark = pytest.mark.cache


@pytest.mark.parametrize(
    ("config", "keys"),
    [
        ({"model_type": "qwen3"}, ()),
        ({"auto_map": {"AutoConfig": "configuration_x.Config"}}, ("auto_map",)),
        ({"text_config": [{"vision": {"auto_map": {}}}]}, ("auto_map",)),
        ({"custom_pipeline": "x", "auto_map": None}, ("auto_map", "custom_pipeline")),
        ({"_attn_implementation_internal": "org/kernels"}, ("_attn_implementation_internal",)),
        ({"_attn_implementation": "sdpa"}, ("_attn_implementation",)),
        ({"_attn_implementation_autoset": True, "_attn_implementation": None}, ()),
        ({"chat_template": '{"auto_map": 1}'}, ()),
        ([], ()),
    ],
)
def test_keys_that_name_code_are_found(config: object, keys: tuple[str, ...]) -> None:
    assert code_keys(json.dumps(config)) == keys


def test_a_key_with_escaped_letters_is_the_same_key() -> None:
    assert code_keys('{"a\\u0075to_map": {}}') == ("auto_map",)


def test_what_is_no_json_is_no_configuration() -> None:
    with pytest.raises(ValueError):
        code_keys("{")


def test_the_sentence_has_the_value_that_waives_it() -> None:
    said = refusal("org/x", "config.json", ("auto_map",), "0" * 64)
    assert said.endswith('models_waived = {"org/x": {"config.json": "' + "0" * 64 + '"}}')
