"""What is asked for: the paths, the browser-like headers, the bodies. Pure data, the same bytes for every contender."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass

SECRET = "benchmark-" + "k" * 38
SMALL_ANSWER = b'{"status":"ok","user_id":"u-1042","count":12,"page":1}'
LARGE_ANSWER_BYTES = 300_000
_EXPIRES = 4_102_444_800  # 2100-01-01: no run is affected by the date

SMALL = "/v2/get-chatbots/u-1042"
FORM = "/v2/select-chatbot"
LARGE = "/v2/get-response-3dchatbot/p-77/latest"
UPLOAD = "/v2/fetch-pdf"
DOWNLOAD = "/v2/export-client-data"
EVENTS = "/v2/call-model/model-1"


def token() -> str:
    """An HS256 token of about 300 bytes, signed with `SECRET`, that does not expire."""
    claims = {
        "sub": "u-1042",
        "roles": ["user"],
        "email": "someone.with.a.name@example.com",
        "name": "Someone With A Name",
        "session": "5f2d9c1e7b3a4d60",
        "iat": 1_700_000_000,
        "exp": _EXPIRES,
    }
    head = _base64(b'{"alg":"HS256","typ":"JWT"}') + "." + _base64(json.dumps(claims, separators=(",", ":")).encode())
    return head + "." + _base64(hmac.new(SECRET.encode(), head.encode(), hashlib.sha256).digest())


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def browser_headers() -> dict[str, str]:
    """What a browser sends from the dashboard's origin: about 1.3 KB with token and cookies."""
    return {
        "Host": "api.machineagents.ai",
        "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 "
        "Safari/537.36",
        "Accept": "application/json, text/plain, */*",
        "Accept-Language": "en-GB,en;q=0.9,de;q=0.8",
        "Accept-Encoding": "gzip, deflate, br, zstd",
        "Origin": "https://machineagents.ai",
        "Referer": "https://machineagents.ai/dashboard/chatbots",
        "Authorization": "Bearer " + token(),
        "Cookie": "session=8f14e45fceea167a5a36dedd4bea2543a1b2c3d4e5f60718; theme=dark; "
        "_ga=GA1.2.1203456789.1700000000; consent=eyJhbmFseXRpY3MiOnRydWUsIm1hcmtldGluZyI6ZmFsc2UsInYiOjN9YWJjZGVm",
        "sec-ch-ua": '"Chromium";v="141", "Not?A_Brand";v="8"',
        "sec-ch-ua-mobile": "?0",
        "sec-ch-ua-platform": '"Linux"',
        "sec-fetch-dest": "empty",
        "sec-fetch-mode": "cors",
        "sec-fetch-site": "same-site",
    }


@dataclass(frozen=True)
class Request:
    """One request: what a browser sends, with a body of `body`, or of `length` bytes that the sender makes up.

    `without` names a field that it leaves out.
    """

    method: str
    path: str
    body: bytes = b""
    content_type: str = ""
    length: int | None = None
    without: str = ""

    def headers(self) -> dict[str, str]:
        """All fields but Content-Length, in sending order."""
        fields = browser_headers() | ({"Content-Type": self.content_type} if self.content_type else {})
        return {name: value for name, value in fields.items() if name != self.without}

    def head(self) -> bytes:
        """The bytes of request line and headers."""
        lines = [f"{self.method} {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in self.headers().items())]
        length = len(self.body) if self.length is None else self.length
        if self.method == "POST":
            lines.append(f"Content-Length: {length}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


SMALL_GET = Request("GET", SMALL)
FORM_POST = Request(
    "POST",
    FORM,
    b"user_id=u-1042&project_id=p-77&chatbot_type=3d&purpose=customer+support&avatar=avatar-11&voice=female_en_2"
    b"&language=en-GB&greeting=How+can+I+help%3F",
    "application/x-www-form-urlencoded",
)
LARGE_GET = Request("GET", LARGE)
# Of a client that takes no content coding: who encodes does nothing for it.
PLAIN_GET = Request("GET", LARGE, without="Accept-Encoding")
EVENTS_GET = Request("GET", EVENTS)


def upload(size: int) -> Request:
    """A POST whose body of `size` bytes the client makes up."""
    return Request("POST", UPLOAD, content_type="application/octet-stream", length=size)


def download(size: int) -> Request:
    """A GET that the backend answers with `size` bytes."""
    return Request("GET", f"{DOWNLOAD}?size={size}")
