"""The catalogue of a host's own metrics."""

import re

import pytest

from ingot.monitoring.metrics import CATALOGUE, FIRST_BYTE_EDGES_S, FROM_DCGM, ONLY_FROM_DCGM, Kind, Metric

pytestmark = pytest.mark.observe


def test_names_are_unique_and_of_prometheus() -> None:
    names = [one.name for one in CATALOGUE]
    assert len(names) == len(set(names))
    assert not [name for name in names if not re.fullmatch(r"ingot_[a-z0-9_]+", name)]


@pytest.mark.parametrize("metric", CATALOGUE, ids=lambda one: one.name)
def test_a_name_says_type_and_unit_as_prometheus_asks(metric: Metric) -> None:
    assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)
    assert metric.help.endswith(".") and metric.source
    if metric.kind is Kind.HISTOGRAM:
        assert metric.name.endswith("_seconds")


def test_no_label_can_grow_without_bound() -> None:
    """A key, a request's id or a process' id would be a series of its own for each request."""
    assert not {label for one in CATALOGUE for label in one.labels} & {"key", "key_id", "request_id", "pid", "remote"}


def test_edges_of_the_histogram_rise() -> None:
    assert list(FIRST_BYTE_EDGES_S) == sorted(set(FIRST_BYTE_EDGES_S))
    assert {1.0, 2.5} <= set(FIRST_BYTE_EDGES_S)


def test_what_dcgm_also_knows_is_in_the_catalogue_and_what_only_it_knows_is_not() -> None:
    names = {one.name for one in CATALOGUE}
    assert set(FROM_DCGM) <= names
    assert not set(ONLY_FROM_DCGM) & names
