"""Whether a person solved a reCAPTCHA: asks the verifier, and judges what it says.

Rules: nothing passes unless the verifier said so in plain words: an answer that is late, broken or of other types than
documented (https://developers.google.com/recaptcha/docs/verify) refuses. Neither key nor token is ever logged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import orjson
import structlog

from aiogateway.errors import Problem
from aiogateway.settings import Settings
from aiogateway.settings.checks import recaptcha_configured

PASSED: Final = "passed"
FAILED: Final = "failed"
UNAVAILABLE: Final = "unavailable"
UNCONFIGURED: Final = "unconfigured"

# Outcome -> what the client is told; a passed one is told nothing.
PROBLEMS: Final = {
    FAILED: "recaptcha_failed",
    UNAVAILABLE: "recaptcha_unavailable",
    UNCONFIGURED: "recaptcha_unconfigured",
}
# The verifier's own words for a key that it doesn't know.
SECRET_ERRORS: Final = frozenset({"missing-input-secret", "invalid-input-secret"})
# Bytes of an answer that are read; the documented ones have a few hundred.
MAX_ANSWER: Final = 64 * 1024
MAX_TOKEN: Final = 16 * 1024

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Demands:
    """What an answer must say.

    :param min_score: of v3, 0 to 1.
    :param hostnames: where the page may have been; empty: anywhere.
    """

    min_score: float
    hostnames: frozenset[str]


def outcome_of(answer: object, demands: Demands, action: str | None) -> str:
    """Judge the verifier's answer.

    :param answer: what its JSON held.
    :param action: the v3 action that the route names; None: the route names none.
    """
    if not isinstance(answer, dict) or not isinstance(success := answer.get("success"), bool):
        return UNAVAILABLE
    if not success:
        codes = answer.get("error-codes")
        told = {code for code in codes if isinstance(code, str)} if isinstance(codes, list) else set()
        return UNCONFIGURED if told & SECRET_ERRORS else FAILED
    score, hostname, done = answer.get("score"), answer.get("hostname"), answer.get("action")
    if score is not None and (isinstance(score, bool) or not isinstance(score, int | float)):
        return UNAVAILABLE
    if any(text is not None and not isinstance(text, str) for text in (hostname, done)):
        return UNAVAILABLE
    good = (
        (score is None or score >= demands.min_score)
        and (action is None or done == action)
        and (not demands.hostnames or hostname in demands.hostnames)
    )
    return PASSED if good else FAILED


class Recaptcha:
    """The verifier's client. Open it inside an event loop with `start`.

    :param settings: `RECAPTCHA_*`.
    """

    def __init__(self, settings: Settings) -> None:
        key = settings.recaptcha_secret_key
        self._secret = key.get_secret_value() if key is not None and recaptcha_configured(settings) else None
        self._url = settings.recaptcha_verify_url
        self._timeout = aiohttp.ClientTimeout(total=settings.recaptcha_timeout)
        self._demands = Demands(settings.recaptcha_min_score, frozenset(settings.recaptcha_hostnames))
        self._session: aiohttp.ClientSession | None = None
        self._unwell = ""  # the last outcome that was a fault of ours or of the verifier, told once

    @property
    def configured(self) -> bool:
        """Whether there is a key to ask with."""
        return self._secret is not None

    async def start(self) -> None:
        """Open the session."""
        self._session = aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(), timeout=self._timeout, trust_env=False
        )

    async def close(self) -> None:
        """Close the session; harmless without one."""
        if self._session is not None:
            await self._session.close()

    async def outcome(self, token: str, client: str, action: str | None) -> str:
        """What the verifier says of a token.

        :param token: as the page got it.
        :param client: the client's address.
        :param action: the v3 action that the route names.
        """
        if self._secret is None:
            return UNCONFIGURED
        if not token or len(token) > MAX_TOKEN:
            return FAILED
        answer = await self._ask({"secret": self._secret, "response": token, "remoteip": client})
        outcome = outcome_of(answer, self._demands, action)
        self._tell(outcome)
        return outcome

    async def _ask(self, form: dict[str, str]) -> Any:
        """The verifier's JSON, or None when it gave none."""
        if self._session is None:
            raise RuntimeError("the reCAPTCHA client was not started")
        try:
            async with self._session.post(self._url, data=form, allow_redirects=False) as response:
                if response.status != 200:
                    return None
                body = await response.content.read(MAX_ANSWER)
                while len(body) < MAX_ANSWER and (more := await response.content.read(MAX_ANSWER - len(body))):
                    body += more
                return orjson.loads(body)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
            return None

    def _tell(self, outcome: str) -> None:
        """Log once when the verifier, or what it thinks of our key, goes bad."""
        unwell = outcome if outcome in (UNAVAILABLE, UNCONFIGURED) else ""
        if unwell == self._unwell:
            return
        self._unwell = unwell
        if unwell == UNCONFIGURED:
            log.error("the reCAPTCHA verifier doesn't know RECAPTCHA_SECRET_KEY: its routes answer 503")
        elif unwell:
            log.warning("the reCAPTCHA verifier gives no valid answer: its routes answer 503")
        else:
            log.info("the reCAPTCHA verifier answers again")


def problem_of(outcome: str) -> Problem | None:
    """What the client is told of an outcome; None when it passed."""
    return None if outcome == PASSED else Problem(PROBLEMS[outcome])
