"""What an image asks of a driver is known from its tag and its engine's version, or from what its owner says."""

import pytest

from ingot.compat import Card, DriverRequest, Machine, Refused, decide
from ingot.compat.images import vllm_image

pytestmark = pytest.mark.driver


@pytest.mark.parametrize(
    ("name", "version", "cuda", "wanted", "capability"),
    [
        ("vllm/vllm-openai:v0.33.0", "0.33.0", None, (13, 0), (7, 5)),
        ("vllm/vllm-openai:v0.20.0", "0.20.0", None, (13, 0), (7, 5)),
        ("vllm/vllm-openai:v0.32.0-cu129", "0.32.0", None, (12, 9), (7, 5)),
        ("vllm/vllm-openai:v0.19.1", "0.19.1", None, (12, 8), (7, 0)),
        ("vllm/vllm-openai:v0.19.1-cu130", "0.19.1", None, (13, 0), (7, 0)),
        # A site's own name says nothing: its engine's version does.
        ("registry.site.example/llm:7", "0.33.0", None, (13, 0), (7, 5)),
        ("registry.site.example/llm:7", "0.33.0", "12.9", (12, 9), (7, 5)),
    ],
)
def test_the_cuda_of_an_image(
    name: str, version: str, cuda: str | None, wanted: tuple[int, int], capability: tuple[int, int]
) -> None:
    image = vllm_image(name, version, cuda)
    assert (image.cuda, image.minimum_capability) == (wanted, capability)


@pytest.mark.parametrize("cuda", ["13", "x", "13.0.1", ""])
def test_a_cuda_that_is_no_version_is_refused(cuda: str) -> None:
    with pytest.raises(ValueError, match="is no CUDA version"):
        vllm_image("vllm/vllm-openai:v0.33.0", "0.33.0", cuda)


def test_an_old_branch_runs_today_s_image_on_data_center_cards_only() -> None:
    image = vllm_image("vllm/vllm-openai:v0.33.0", "0.33.0", compatibility=True)
    with pytest.raises(Refused, match=r"CUDA 13\.0 on driver branch 535"):
        decide(Machine((Card(0x2684),)), DriverRequest(branch=535, image=image))
    assert decide(Machine((Card(0x2330),)), DriverRequest(branch=535, image=image)).branch == 535
