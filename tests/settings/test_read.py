"""The values of a host become settings, or one sentence for each that is wrong."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ingot.settings import NAMES, Settings, WrongValues, check_given, of_host, section
from ingot.settings.engine import Engine
from ingot.settings.serving import Serving
from ingot.settings.settings import SECTIONS
from tests.operations.serving.onehost import SMALL
from tests.settings.values import ALL, DEFAULTS, host

SOURCES = DEFAULTS["sources"]
GOOD = {"model": "qwen3-4b", "context": 4096, "concurrency": 4}
GGUF_MODEL = {**SMALL, "variants": [{**SMALL["variants"][0], "file": "small-q8_0.gguf"}]}


def sentences(**values: Any) -> tuple[str, ...]:
    with pytest.raises(WrongValues) as wrong:
        of_host(host(**values))
    return wrong.value.sentences


def test_group_data_and_the_sections_name_the_same_values_in_the_same_order() -> None:
    assigned = [
        target.id
        for node in ast.parse(ALL.read_text()).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    ]
    assert assigned == list(NAMES)


def test_every_default_has_its_comment() -> None:
    above = ""
    for line in ALL.read_text().splitlines():
        name = line.partition(" = ")[0]
        if name in NAMES:
            assert above.startswith("# ") or above.partition(" = ")[0] in NAMES, f"{name} has no comment"
        above = line


def test_the_defaults_are_right() -> None:
    settings = of_host(host())
    assert isinstance(settings, Settings)
    assert str(settings.engine_network) == "172.31.213.0/24"
    assert settings.serve == ()
    assert settings.sources.docker is not None


@pytest.mark.parametrize(
    "values",
    [
        {"serve": [GOOD, {**GOOD, "tokens_per_s": 40, "share": True, "variant": "bf16", "replicas": 2}]},
        {"gpus_use": [0, "GPU-0a1b", "1"]},
        {"engine_network": "10.9.8.0/28"},
        {"engine_extra_args": ["--dtype", "float32"], "engine_extra_env": {"VLLM_LOGGING_LEVEL": "DEBUG"}},
        {"gateway_max_body": 1048576},
        {"gateway_teams": {"sales": {"redact": "all", "models": ["org/a.b"], "max_body": "8m", "burst": None}}},
        {"sources": {name: SOURCES[name] for name in ("nvidia_driver", "nvidia_toolkit", "models", "docker")}},
        {"driver_flavour": "open", "driver_source": "debian", "driver_version": "580.173.02"},
        {"docker_daemon": {"registry-mirrors": ["https://mirror.example"]}, "docker_version": "5:29.*"},
        {"site_models": {"qwen3-4b": {"revisions": {"bf16": "0" * 40}}}},
    ],
)
def test_what_can_be_meant_is_taken(values: dict[str, Any]) -> None:
    of_host(host(**values))


def without(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key != name}


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"engine_network": "172.31.213.1/24"}, "engine_network is '172.31.213.1/24', expected an IPv4 network with"),
        ({"engine_network": "172.31.213.0/29"}, "expected an IPv4 network with room for replicas (/28 or larger)"),
        ({"engine_network": 5}, "engine_network is 5, expected an IPv4 network"),
        ({"engine_extra_args": "--dtype float32"}, "engine_extra_args is '--dtype float32', expected a list of words"),
        ({"engine_extra_args": ["--seed", 3]}, "engine_extra_args[1] is 3, expected a text of one line, in quotes"),
        ({"engine_extra_env": ["A=1"]}, "engine_extra_env is of type list, expected texts by variable"),
        ({"engine_extra_env": {"A": 1}}, "engine_extra_env.A is of type int, expected a text"),
        ({"engine_extra_env": {"a b": "1"}}, "engine_extra_env names 'a b', expected the name of a variable"),
        ({"engine_cuda": 13.0}, "engine_cuda is 13.0, expected a CUDA version in quotes"),
        ({"engine_version": "newest"}, "engine_version is 'newest', expected the version of the engine"),
        ({"engine_image_digest": "sha256:abc"}, "expected 'sha256:' and 64 hexadecimal digits, or None"),
        ({"engine_pids": "8192"}, "engine_pids is '8192', expected a whole number from 1 on"),
        ({"engine_ulimits": {"memlock": -2}}, "engine_ulimits.memlock is -2, expected a whole number, -1 for no limit"),
        ({"serve": GOOD}, "expected a list of models, each with model, context and concurrency"),
        ({"serve": [without(GOOD, "concurrency")]}, "serve[0].concurrency is missing"),
        ({"serve": [GOOD | {"goal": "speed"}]}, "serve[0].goal is 'speed', expected 'throughput' or 'latency'"),
        ({"serve": [GOOD | {"kv_offload_gib": 0}]}, "serve[0].kv_offload_gib is 0, expected GiB of the host's memory"),
        ({"serve": [{**GOOD, "contxt": 1}]}, "serve[0].contxt is no key that Ingot knows (did you mean 'context'?)"),
        ({"serve": [{**GOOD, "context": "4096"}]}, "serve[0].context is '4096', expected a whole number from 1 on"),
        ({"serve": [{**GOOD, "context": True}]}, "serve[0].context is True, expected a whole number from 1 on"),
        ({"serve": [GOOD, {**GOOD, "model": "qwen3-4"}]}, "serve[1].model is 'qwen3-4', expected a model of the cat"),
        ({"serve": [{**GOOD, "variant": "fp7"}]}, "serve[0].variant is 'fp7', expected one of bf16"),
        ({"site_models": {"../etc": {}}}, "unlike '../etc'"),
        ({"aliases": {"gpt-4o": "qwen3-32"}}, "aliases.gpt-4o is 'qwen3-32', expected a model of the catalog or of"),
        (
            {"llama_cpp_version": "b8145"},
            "llama_cpp_version is 'b8145', expected b8146 or newer, which closes CVE-2026-27940",
        ),
        (
            {"site_models": {"one-gguf": GGUF_MODEL}, "serve": [GOOD | {"model": "one-gguf"}]},
            "serve[0].engine is 'vllm', expected an engine that reads one-gguf, for vLLM safetensors, or engine",
        ),
        (
            {"serve": [GOOD | {"engine": "llama.cpp"}]},
            "serve[0].engine is 'llama.cpp', expected an engine that reads qwen3-4b, for llama.cpp a GGUF file",
        ),
        (
            {"serve": [GOOD | {"engine": "ollama"}]},
            "serve[0].engine is 'ollama', expected an engine that reads qwen3-4b, for Ollama a GGUF file",
        ),
        (
            {"site_models": {"a.b/one": GGUF_MODEL}, "serve": [GOOD | {"model": "a.b/one", "engine": "ollama"}]},
            "serve[0].model is 'a.b/one', expected MODEL, NAMESPACE/MODEL or HOST/NAMESPACE/MODEL",
        ),
        (
            {
                "site_models": {"one-gguf": GGUF_MODEL},
                "serve": [GOOD | {"model": "one-gguf", "engine": "ollama"}],
                "aliases": {"big:cloud": "one-gguf"},
            },
            "serve[0].model is 'big:cloud', expected a name that does not end with cloud",
        ),
        (
            {"engine_images": {"sglang": {"image": "lmsysorg/sglang:v0.5.22", "version": "0.5.22"}}},
            "expected a version of sglang without a known hole: 0.5.23 or newer",
        ),
        (
            {"engine_images": {"sglong": {"image": "a:1", "version": "0.5.23"}}},
            "engine_images names 'sglong', expected",
        ),
        ({"engine_images": {"tgi": {"image": "a:1"}}}, "engine_images.tgi.version is missing"),
        (
            {"serve": [GOOD | {"engine": "sglang", "share": True}]},
            "serve[0].share is True, expected nothing with SGLang",
        ),
        (
            {"aliases": {"gpt-4o": {"qwen3-32b": 9, "qwen3-32": 1}}},
            "aliases.gpt-4o is 'qwen3-32', expected a model of the catalog or of",
        ),
        (
            {"aliases": {"gpt-4o": {"qwen3-32b": 9, "qwen3-8b": 0}}},
            "expected a model, or shares from 1 to 1000 by model",
        ),
        ({"aliases": {"gpt-4o": {"qwen3-32b": True}}}, "a share of True is none"),
        ({"aliases": {"gpt-4o": {}}}, "expected a model, or shares from 1 to 1000 by model"),
        ({"aliases": {"gpt-4o": 3}}, "aliases.gpt-4o is 3, expected a model, or shares from 1 to 1000 by model"),
        (
            {"aliases": {"gpt-4o": {"qwen3-32b": 9, "qwen3-embedding-0.6b": 1}}},
            "expected models of one kind, and these are for embed and generate",
        ),
        (
            {
                "site_models": {"one-gguf": GGUF_MODEL},
                "serve": [GOOD, GOOD | {"model": "one-gguf", "engine": "llama.cpp"}],
                "aliases": {"gpt-4o": {"qwen3-4b": 9, "one-gguf": 1}},
            },
            "expected models that one engine serves on a host, and here llama.cpp and vllm do",
        ),
        ({"aliases": {"gpt 4o": "qwen3-32b"}}, "aliases names 'gpt 4o', expected"),
        (
            {"fallback": {"qwen3-32b": ["qwen3-9"]}},
            "fallback.qwen3-32b is 'qwen3-9', expected models of the catalog or",
        ),
        (
            {"fallback": {"qwen3-32b": ["qwen3-32b"]}},
            "fallback.qwen3-32b is 'qwen3-32b', expected other models than it",
        ),
        ({"fallback": ["qwen3-32b"]}, "expected lists of models by the model that they stand in for"),
        ({"fleet_weight": 0}, "fleet_weight is 0, expected a whole number from 1 to 1000"),
        ({"aliases": ["gpt-4o"]}, "aliases is ['gpt-4o'], expected models by the other names that callers use"),
        (
            {"site_models": {"mine": {"config": 3, "variants": [{}]}}},
            "expected models as docs/models.md describes them",
        ),
        ({"gpus_use": 0}, "gpus_use is 0, expected a list of GPU UUIDs or indices such as [0, 1], or None for all"),
        ({"gpus_use": []}, "gpus_use is [], expected a list of GPU UUIDs"),
        ({"gpus_use": [True]}, "gpus_use[0] is True, expected the UUID of a GPU, or its index"),
        ({"driver_branch": "580"}, "driver_branch is '580', expected a driver branch such as 580"),
        ({"driver_disrupt": "no"}, "driver_disrupt is 'no', expected True or False"),
        ({"driver_flavour": "opn"}, "driver_flavour is 'opn', expected 'open', 'proprietary', or None"),
        ({"toolkit_version": "1.18.0"}, "toolkit_version is '1.18.0', expected 1.19.1 or newer"),
        ({"cache_root": "srv/models"}, "cache_root is 'srv/models', expected an absolute path on the host"),
        ({"cache_root": "/srv/../etc"}, "cache_root is '/srv/../etc', expected an absolute path on the host"),
        ({"cache_root": "/"}, "cache_root is '/', expected an absolute path on the host"),
        ({"cache_swarm_port": 8445}, "cache_swarm_port is 8445, expected None while cache_peer_port is None"),
        (
            {"cache_peer_port": 8444, "cache_swarm_port": 8444},
            "cache_swarm_port is 8444, expected another port than cache_peer_port",
        ),
        ({"docker_log_max_size": 50}, "docker_log_max_size is 50, expected a size as Docker writes it"),
        ({"docker_daemon": {"a": {1}}}, "docker_daemon is of type dict, expected keys of daemon.json"),
        ({"gateway_names": "llm.example"}, "gateway_names is 'llm.example', expected a list of host names"),
        ({"gateway_behind": ["10.0.0.1/8"]}, "gateway_behind[0] is '10.0.0.1/8', expected a network such as"),
        ({"gateway_cors_origins": ["*"]}, "gateway_cors_origins[0] is '*', expected an origin such as"),
        (
            {"gateway_proxy_port": 8442},
            "gateway_proxy_port is 8442, expected None while gateway_behind names no network",
        ),
        (
            {"gateway_proxy_port": 443, "gateway_behind": ["10.0.0.0/8"]},
            "gateway_proxy_port is 443, expected a TCP port of its own",
        ),
        ({"gateway_body_room": "16m"}, "gateway_body_room is '16m', expected room for the largest body"),
        ({"gateway_names": ["a b"]}, "gateway_names[0] is 'a b', expected a host name"),
        ({"gateway_ca_scope": ["10.0.0.1/8"]}, "gateway_ca_scope[0] is '10.0.0.1/8', expected a network"),
        ({"gateway_routes": ["respones"]}, "gateway_routes[0] is 'respones', expected one of audio"),
        ({"gateway_acme_directory": "http://acme.example"}, "expected an https address"),
        ({"gateway_acme_email": "nobody"}, "gateway_acme_email is 'nobody', expected a mail address, or None"),
        ({"gateway_teams": []}, "gateway_teams is [], expected settings by team"),
        ({"gateway_teams": {"Sales": {}}}, "gateway_teams names 'Sales', expected a team's name"),
        ({"gateway_teams": {"sales": 3}}, "gateway_teams.sales is 3, expected settings of the team by name"),
        (
            {"gateway_teams": {"sales": {"rpm": 3}}},
            "gateway_teams.sales.rpm is no key that Ingot knows, expected one of",
        ),
        ({"gateway_teams": {"sales": {"burst": 0}}}, "gateway_teams.sales.burst is 0, expected a whole number from 1"),
        (
            {"gateway_teams": {"sales": {"max_body": "8 MiB"}}},
            "gateway_teams.sales.max_body is '8 MiB', expected a size",
        ),
        ({"gateway_teams": {"sales": {"models": []}}}, "gateway_teams.sales.models is [], expected a list of models"),
        ({"gateway_teams": {"sales": {"models": ["a'; b"]}}}, "gateway_teams.sales.models[0] is "),
        (
            {"gateway_teams": {"sales": {"redact": "mobile"}}},
            "gateway_teams.sales.redact is 'mobile', expected 'all', or",
        ),
        (
            {"gateway_teams": {"sales": {"redact": ["mobil"]}}},
            "gateway_teams.sales.redact[0] is 'mobil', expected all, or",
        ),
        (
            {"gateway_redact_patterns": {"n": {"pattern": "a*", "max_length": 3}}},
            "gateway_redact_patterns.n.pattern is",
        ),
        ({"gateway_redact_patterns": {"n": {"pattern": "a"}}}, "gateway_redact_patterns.n.max_length is missing"),
        ({"gateway_redact_patterns": []}, "gateway_redact_patterns is [], expected patterns by name such as"),
        (
            {"gateway_redact_patterns": {"All": {"pattern": "a", "max_length": 1}}},
            "gateway_redact_patterns names 'All', expected a pattern's name of",
        ),
        ({"gateway_redact_patterns": {"n": "x"}}, "gateway_redact_patterns.n is 'x', expected pattern and max_length"),
        (
            {"gateway_redact_patterns": {"mobile": {"pattern": "a", "max_length": 1}}},
            "gateway_redact_patterns.mobile is 'mobile', expected another name than resident-id",
        ),
        (
            {"gateway_redact_patterns": {"all": {"pattern": "a", "max_length": 1}}},
            "gateway_redact_patterns.all is 'all', expected another name than resident-id",
        ),
        (
            {"gateway_redact_patterns": {"n": {"pattern": 7, "max_length": 1}}},
            "gateway_redact_patterns.n.pattern is 7, expected",
        ),
        (
            {"gateway_redact_patterns": {"n": {"pattern": "a", "max_length": 0}}},
            "gateway_redact_patterns.n.max_length is 0, expected a whole number from 1 to 512",
        ),
        ({"gateway_default_max_tokens": 0}, "gateway_default_max_tokens is 0, expected a whole number from 1 on"),
        ({"gateway_fleet_port": 443}, "gateway_fleet_port is 443, expected a TCP port from 1024 to 65000"),
        ({"verify_ports": [70000]}, "verify_ports[0] is 70000, expected a TCP port from 1 to 65535"),
        ({"accounting_days": 0}, "accounting_days is 0, expected a whole number of days from 1 on"),
        ({"sources": without(SOURCES, "models")}, "sources.models is missing"),
        (
            {"sources": without(SOURCES, "docker")},
            "sources.docker is None, expected Docker's repository, since docker_s",
        ),
        ({"sources": {**SOURCES, "dcker": {}}}, "sources.dcker is no key that Ingot knows (did you mean 'docker'?)"),
        (
            {"sources": {**SOURCES, "docker": {**SOURCES["docker"], "key_fingerprint": "9DC85822"}}},
            "sources.docker.key_fingerprint[0] is '9DC85822', expected the whole fingerprint of a key",
        ),
        (
            {
                "sources": {
                    **SOURCES,
                    "nvidia_driver": {**SOURCES["nvidia_driver"], "key_url": {"debian13": "https://x"}},
                }
            },
            "sources.nvidia_driver.key_url is {'debian13': 'https://x'}, expected one for 'default' too",
        ),
        ({"sources": {**SOURCES, "models": {"kind": "hubb", "uri": "https://x"}}}, "sources.models.kind is 'hubb'"),
        ({"engine_imge": "x"}, "engine_imge is no value that Ingot knows (did you mean 'engine_image'?)"),
    ],
)
def test_a_wrong_value_is_one_sentence(values: dict[str, Any], says: str) -> None:
    (sentence,) = sentences(**values)
    assert sentence.startswith("gpu-01: ")
    assert says in sentence
    assert sentence.endswith("; correct it in group_data/all.py.")
    assert "\n" not in sentence


def test_every_wrong_value_is_said_in_the_order_of_group_data() -> None:
    found = sentences(accounting_days=0, serve=[{**GOOD, "context": 0}], cache_root="", engine_port=0)
    assert [one.split()[1] for one in found] == ["serve[0].context", "cache_root", "engine_port", "accounting_days"]


@pytest.mark.parametrize(
    ("where", "given"),
    [
        ("--data engine_port=…", {"given": {"engine_port": 0}, "own": {"engine_port": 1}}),
        ("inventories/prod/gpu-01.yaml", {"own": {"engine_port": 0, "inventory_file": "inventories/prod/gpu-01.yaml"}}),
        ("the inventory", {"own": {"engine_port": 0}}),
        ("group_data/lab.py", {"groups": {"gpu": {"engine_port": 1}, "lab": {"engine_port": 0}}}),
        ("group_data/gpu.py", {"groups": {"gpu": {"engine_port": 0}, "lab": {}}}),
        ("group_data/all.py", {"engine_port": 0}),
    ],
)
def test_the_sentence_says_where_the_value_is_set(where: str, given: dict[str, Any]) -> None:
    assert sentences(**given)[0].endswith(f"; correct it in {where}.")


def test_a_file_below_the_working_directory_is_named_from_there() -> None:
    file = Path("inventories/prod/gpu-01.yaml").absolute()
    (sentence,) = sentences(own={"engine_port": 0, "inventory_file": str(file)})
    assert sentence.endswith("; correct it in inventories/prod/gpu-01.yaml.")


def test_what_may_hold_a_password_is_not_shown() -> None:
    (sentence,) = sentences(engine_extra_env="TOKEN=hunter2")
    assert "hunter2" not in sentence


def test_what_reaches_a_host_is_no_value() -> None:
    of_host(host(own={"ssh_user": "root", "_sudo": True, "gpus": "rtx4090x1", "expect": {"gpus": "RTX 4090"}}))


@pytest.mark.parametrize("other", ["team.chat", "Team/Chat", "team chat".replace(" ", ":")])
def test_two_models_whose_services_would_have_one_name_are_refused(other: str) -> None:
    serve = [{**GOOD, "model": name} for name in ("team/chat", other)]
    (sentence,) = sentences(serve=serve, site_models={"team/chat": SMALL, other: SMALL})
    assert f"serve[1].model is {other!r}, expected a model whose name differs from 'team/chat' in more than" in sentence


def test_one_model_for_two_workloads_is_no_other_model() -> None:
    serve = [{**GOOD, "model": "team/chat"}, {**GOOD, "model": "team/chat", "context": 1024}]
    assert len(of_host(host(serve=serve, site_models={"team/chat": SMALL})).serve) == 2


def test_settings_follow_values_that_change() -> None:
    one = host()
    assert of_host(one) is of_host(one)
    one.data.engine_port = 9000  # type: ignore[attr-defined]
    assert of_host(one).engine_port == 9000


def test_one_section_is_right_whatever_else_is_wrong() -> None:
    wrong = host(engine_port=0, serve=[GOOD])
    assert section(wrong, Serving).serve[0].model == "qwen3-4b"
    with pytest.raises(WrongValues, match="engine_port is 0"):
        section(wrong, Engine)


def test_a_host_without_values_is_refused_only_where_they_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = host()
    monkeypatch.setattr(bare.inventory, "data", {})
    check_given(bare)
    with pytest.raises(WrongValues, match="engine_port is missing"):
        of_host(bare)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("wrong", [object(), 1e300, {1: ()}, [[None]]], ids=["object", "float", "dict", "list"])
def test_whatever_a_value_is_it_is_no_more_than_a_sentence(name: str, wrong: object) -> None:
    sentence, *_ = sentences(**{name: wrong})
    assert sentence.startswith(f"gpu-01: {name}")


def test_sections_are_of_one_piece() -> None:
    assert len(NAMES) == len(set(NAMES)), "no value is in two sections"
    assert all(section.__doc__ for section in SECTIONS)


def test_aliases_are_of_the_models_that_a_host_serves() -> None:
    aliases = {"gpt-4o": GOOD["model"], "o3": GOOD["model"], "elsewhere": "qwen3-32b"}
    values = of_host(host(serve=[GOOD], aliases=aliases))
    assert values.aliases_of(GOOD["model"]) == ("gpt-4o", "o3")
    assert values.names == tuple(sorted((GOOD["model"], "gpt-4o", "o3")))
    (sentence,) = sentences(serve=[GOOD], aliases={GOOD["model"]: GOOD["model"]})
    assert "expected names that no model or adapter of this host has" in sentence


def test_models_that_share_a_name_each_have_it() -> None:
    aliases = {"gpt-4o": {GOOD["model"]: 9, "qwen3-8b": 1}, "o3": GOOD["model"]}
    values = of_host(host(serve=[GOOD], aliases=aliases))
    assert values.aliases_of(GOOD["model"]) == ("gpt-4o", "o3")
    assert values.parts == {"gpt-4o": {GOOD["model"]: 9}}
    standing = {"qwen3-8b": [GOOD["model"]]}
    both = of_host(host(serve=[GOOD], aliases=aliases, fallback=standing))
    assert both.stands_in_for == ("qwen3-8b",), "for the shared name it answers by itself"


@pytest.mark.engines
@pytest.mark.parametrize(
    ("variants", "kind", "has_gpu", "engine"),
    [
        (["g"], "generate", True, "llama.cpp-cuda"),
        (["g"], "generate", False, "llama.cpp"),
        (["g"], "embed", True, "llama.cpp"),
        (["g", "s"], "generate", True, "vllm"),
        (["g", "s"], "generate", False, "llama.cpp"),
        (["s"], "generate", False, "vllm"),
    ],
)
def test_auto_looks_at_files_and_gpus(variants: list[str], kind: str, has_gpu: bool, engine: str) -> None:
    of = {"g": GGUF_MODEL["variants"][0] | {"name": "g"}, "s": SMALL["variants"][0] | {"name": "s"}}
    described = {**SMALL, "kind": kind, "variants": [of[one] for one in variants]}
    asked = {"model": "mine", "context": 1024, "concurrency": 1, "engine": "auto"}
    values = of_host(host(serve=[asked], site_models={"mine": described}))
    assert values.serve[0].request(values.models, has_gpu=has_gpu).engine == engine
