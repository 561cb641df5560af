"""Encodes what services left plain, for clients that take it (RFC 9110 sections 8.4 and 12.5.3)."""

from __future__ import annotations

from aiogateway.compression.compression import Compression, Piecewise
from aiogateway.compression.negotiation import CODINGS, IDENTITY, Choice, choose
from aiogateway.compression.policy import encoded_lines, forbids_coding, varying, weakened

__all__ = [
    "CODINGS",
    "IDENTITY",
    "Choice",
    "Compression",
    "Piecewise",
    "choose",
    "encoded_lines",
    "forbids_coding",
    "varying",
    "weakened",
]
