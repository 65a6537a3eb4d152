"""topo -m: NVLink pairs and NUMA nodes from whole, pasted and damaged tables."""

import pytest

from ingot.facts.errors import ParseError
from ingot.facts.topology import parse_topology
from tests.facts.captures import capture, names

pytestmark = pytest.mark.driver

EIGHT = frozenset(range(8))


@pytest.mark.parametrize("name", names("*topo*"))
def test_every_capture_is_read(name: str) -> None:
    assert parse_topology(capture(name))


@pytest.mark.parametrize("name", ["topo__hgx-h100-x8-nics.txt", "topo__hgx-h20-x8-nics.txt"])
def test_behind_switches_every_gpu_sees_every_other(name: str) -> None:
    links = parse_topology(capture(name))
    assert {index: link.peers for index, link in links.items()} == {index: EIGHT - {index} for index in EIGHT}
    assert [links[index].numa_node for index in range(8)] == [0, 0, 0, 0, 1, 1, 1, 1]


def test_pcie_alone_is_no_nvlink() -> None:
    links = parse_topology(capture("topo__8gpu-pcie-no-nvlink.txt"))
    assert not any(link.peers for link in links.values())
    assert links[0].paths[6] == "SYS"
    assert links[6].numa_node == 1


def test_a_gpu_whose_links_are_down_stands_alone_even_in_an_excerpt() -> None:
    links = parse_topology(capture("topo__b200-x8-one-gpu-nvlink-down.txt"))
    assert links[2].peers == frozenset()
    assert links[0].peers == frozenset({1, 3, 4, 5, 6, 7})
    assert links[5].numa_node == 1


def test_one_gpu_has_no_peer_and_colour_codes_are_no_text() -> None:
    (link,) = parse_topology(capture("h100-sxm__topo-m.txt")).values()
    assert (link.index, link.peers, link.numa_node) == (0, frozenset(), 0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Legend:\n  X = Self\n",
        "\tGPU0\tGPU1\tCPU Affinity\nGPU0\t X \n",
        "\tGPU0\tGPU1\tCPU Affinity\nGPU0\t X \tWARP\t0-3\n",
        "\tGPU0\tGPU1\tCPU Affinity\nGPU0\tNV4\t X \t0-3\n",
    ],
)
def test_a_damaged_table_is_one_sentence(text: str) -> None:
    with pytest.raises(ParseError) as error:
        parse_topology(text)
    assert "\n" not in str(error.value)


def test_network_cards_may_stand_before_the_gpus() -> None:
    links = parse_topology(
        "\tmlx5_0\tGPU0\tGPU1\tCPU Affinity\nmlx5_0\t X \tPIX\tSYS\nGPU0\tPIX\t X \tNV4\t0\nGPU1\tSYS\tNV4\t X \t0\n"
    )
    assert [(link.peers, link.numa_node) for link in links.values()] == [(frozenset({1}), None), (frozenset({0}), None)]


def test_a_node_of_ranges_is_no_node() -> None:
    links = parse_topology(
        "\tGPU0\tGPU1\tNIC0\tCPU Affinity\tNUMA Affinity\tGPU NUMA ID\n"
        "GPU0\t X \tNV18\tPIX\t0-47,96-143\t0-1\t\tN/A\nGPU1\tNV18\t X \tSYS\t0-47,96-143\t1\t\tN/A\n"
    )
    assert [link.numa_node for link in links.values()] == [None, 1]


def test_a_path_that_cannot_be_told_is_no_nvlink() -> None:
    links = parse_topology("\tGPU0\tGPU1\tCPU Affinity\nGPU0\t X \tN/A\t0\nGPU1\tDIS\t X \t0\n")
    assert all(not link.peers for link in links.values())
