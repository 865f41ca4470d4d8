"""Which machines of a cluster file have joined."""

from mdr_tune.cluster.joined import not_joined


def test_addresses_and_names() -> None:
    here = {"10.0.0.1", "10.0.0.2"}
    assert not_joined(["10.0.0.1", "10.0.0.3", "no-such.invalid"], here) == ["10.0.0.3", "no-such.invalid"]


def test_a_name_that_means_loopback_is_this_machine() -> None:
    assert not_joined(["localhost", "10.0.0.1"], {"10.0.0.1"}) == []
