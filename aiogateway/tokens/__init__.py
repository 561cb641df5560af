"""Bearer tokens: what they say (`claims`), what signs them (`keys`, `jwks`), and both together (`verifier`)."""

from __future__ import annotations

from aiogateway.tokens.claims import REASONS, Identity, Refused, Rules, bearer_token
from aiogateway.tokens.keys import Unavailable
from aiogateway.tokens.verifier import Verifier, verifier_from

__all__ = ["REASONS", "Identity", "Refused", "Rules", "Unavailable", "Verifier", "bearer_token", "verifier_from"]
