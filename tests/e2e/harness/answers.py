"""Answers of a backend that several modules script."""

from __future__ import annotations

from .backend import Peer


def silence(peer: Peer) -> None:
    """Say nothing until the other side has hung up."""
    peer.left()
