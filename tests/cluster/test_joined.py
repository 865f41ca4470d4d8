"""Which machines of a cluster file have joined, and what is said of an address where no head of Ray's answers."""

import socket

import pytest

from mdr_tune.cluster import joined
from mdr_tune.cluster.joined import connect, not_joined
from mdr_tune.util.errors import UserError


def test_addresses_and_names() -> None:
    here = {"10.0.0.1", "10.0.0.2"}
    assert not_joined(["10.0.0.1", "10.0.0.3", "no-such.invalid"], here) == ["10.0.0.3", "no-such.invalid"]


def test_a_name_that_means_loopback_is_this_machine() -> None:
    assert not_joined(["localhost", "10.0.0.1"], {"10.0.0.1"}) == []


def test_something_else_listens(monkeypatch: pytest.MonkeyPatch, environment_put_back: None) -> None:
    monkeypatch.setattr(joined, "HEAD_TIMEOUT_S", 3.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(UserError, match=rf"^--address {address}: something listens there, but it does not answer"):
            connect(address)


def test_where_the_address_comes_from_is_said(monkeypatch: pytest.MonkeyPatch, environment_put_back: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    with pytest.raises(UserError, match=rf"^--address {address}: no Ray cluster .* or leave --address out"):
        connect(address)
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(UserError, match=rf"^RAY_ADDRESS={address}: no Ray cluster .* or unset RAY_ADDRESS to use"):
        connect(address)
