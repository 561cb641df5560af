"""Matching: which pattern a path means, beside a slow reference that tries them all, and which paths are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiogateway.errors import Problem
from aiogateway.routes import Table, configure
from aiogateway.routes.patterns import Kind, Segment, Trie, parse, shape_of, split
from aiogateway.routes.readings import lax_readings
from tests.config_folders import load

PATTERNS = [
    "/",
    "/v2",
    "/v2/",
    "/v2/login",
    "/v2/select-{rest}",
    "/v2/select-model",
    "/v2/select-model-{x}",
    "/v2/{name}",
    "/v2/{name}/info",
    "/v2/{tail:path}",
    "/v2/login/{a}/c",
    "/files/{rest:path}",
]
CASES = [
    ("/", "/", {}),
    ("/v2", "/v2", {}),
    ("/v2/", "/v2/", {}),
    ("/v2/login", "/v2/login", {}),
    ("/v2/%6Cogin", "/v2/login", {}),
    ("/v2/LOGIN", "/v2/{name}", {"name": "LOGIN"}),
    ("/v2/select-model", "/v2/select-model", {}),
    ("/v2/select-models", "/v2/select-{rest}", {"rest": "models"}),
    ("/v2/select-model-9", "/v2/select-model-{x}", {"x": "9"}),
    ("/v2/select-model-", "/v2/select-{rest}", {"rest": "model-"}),
    ("/v2/select-", "/v2/{name}", {"name": "select-"}),
    ("/v2/s%65lect%2Da%20b", "/v2/select-{rest}", {"rest": "a%20b"}),
    ("/v2/x%2fy", "/v2/{name}", {"name": "x%2fy"}),
    ("/v2/x/info", "/v2/{name}/info", {"name": "x"}),
    ("/v2/login/info", "/v2/{name}/info", {"name": "login"}),
    ("/v2/x/other", "/v2/{tail:path}", {"tail": "x/other"}),
    ("/v2/login/b/d", "/v2/{tail:path}", {"tail": "login/b/d"}),
    ("/v2/login/", "/v2/{tail:path}", {"tail": "login/"}),
    ("/files/a%FFb/c%25", "/files/{rest:path}", {"rest": "a%FFb/c%25"}),
    ("/files/...", "/files/{rest:path}", {"rest": "..."}),
    ("/files/%252e%252e", "/files/{rest:path}", {"rest": "%252e%252e"}),
]


def trie_of(patterns: list[str]) -> Trie[str]:
    trie: Trie[str] = Trie()
    for pattern in patterns:
        trie.add(parse(pattern), pattern)
    return trie


@pytest.mark.parametrize(("path", "pattern", "params"), CASES)
def test_the_most_specific_pattern_is_found_with_raw_parameters(
    path: str, pattern: str, params: dict[str, str]
) -> None:
    assert trie_of(PATTERNS).find(*split(path)) == (pattern, params)


@pytest.mark.parametrize("path", ["/files", "/files/", "/files//a", "/files/a//b", "//", "/v3", "/v2//login"])
def test_empty_segments_and_unknown_paths_match_nothing(path: str) -> None:
    assert trie_of(PATTERNS).find(*split(path)) is None


def test_the_order_of_patterns_never_matters() -> None:
    forward, backward = trie_of(PATTERNS), trie_of(PATTERNS[::-1])
    for path, _, _ in CASES:
        assert forward.find(*split(path)) == backward.find(*split(path))


@pytest.mark.parametrize(
    "path",
    [
        "",
        "a",
        "*",
        "/.",
        "/..",
        "/a/../b",
        "/a/./b",
        "/a/%2e%2E/b",
        "/a/.%2e",
        "/a\\b",
        "/a%5cb",
        "/a%00b",
        "/a%1fb",
        "/a%7Fb",
        "/a%C2%85b",
        "/a\tb",
        "/a b",
        "/a\x00",
        "/é",
        "/a%",
        "/a%2",
        "/a%zz",
        "/a#b",
        "/a?b",
        "/a%2F..%2Fb",
        "/a%2f.",
    ],
)
def test_a_path_that_could_mean_another_is_refused(path: str) -> None:
    with pytest.raises(Problem) as caught:
        split(path)
    assert caught.value.code == "bad_request"


@pytest.fixture(scope="module")
def packaged() -> Table:
    return configure({"GATEWAY_AUTH_MODE": "off"})[1]


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v2/nothing-here", "route_not_found"),
        ("/v2/login/", "route_not_found"),
        ("//v2/login", "route_not_found"),
        ("/v2/admin/", "route_not_found"),
        ("/v2/admin//users", "route_not_found"),
        ("/v2/admin/../login", "bad_request"),
        ("/v2%2Flogin", "bad_request"),
        ("/v2/login%00", "bad_request"),
    ],
)
def test_the_table_says_what_is_wrong_with_a_path(packaged: Table, path: str, code: str) -> None:
    with pytest.raises(Problem) as caught:
        packaged.match(path)
    assert caught.value.code == code


def test_a_wrong_method_is_405_with_allow_and_never_falls_through_to_a_wider_pattern(packaged: Table) -> None:
    endpoint = packaged.match("/v2/get-response-3dchatbot-v5").endpoint
    with pytest.raises(Problem) as caught:
        endpoint.route("GET")
    assert (caught.value.code, caught.value.headers) == ("method_not_allowed", (("Allow", "POST"),))


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "get", ""])
def test_a_method_no_route_has_is_405(packaged: Table, method: str) -> None:
    with pytest.raises(Problem) as caught:
        packaged.match("/v2/get-client-data").endpoint.route(method)
    assert caught.value.headers == (("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE"),)


def test_an_encoded_slash_is_refused_where_the_route_does_not_take_it(packaged: Table) -> None:
    match = packaged.match("/v2/call-model/a%2Fb")
    assert (match.params, match.encoded_slash) == ({"model_name": "a%2Fb"}, True)
    with pytest.raises(Problem) as caught:
        match.endpoint.route("POST", encoded_slash=match.encoded_slash)
    assert caught.value.code == "bad_request"


def test_a_literal_path_and_its_encoded_twin_mean_the_same_endpoint(packaged: Table) -> None:
    assert packaged.match("/v2/login").endpoint is packaged.match("/%762/logi%6e").endpoint


def fits(segments: tuple[Segment, ...], decoded: list[str]) -> bool:
    """The reference: whether one pattern fits, read off the contract."""
    if "" in decoded[:-1]:
        return False
    if segments[-1].kind is Kind.TAIL:
        head = segments[:-1]
        if len(decoded) <= len(head) or "/".join(decoded[len(head) :]) == "":
            return False
    else:
        head = segments
        if len(decoded) != len(head):
            return False
    for (kind, text, _), found in zip(head, decoded, strict=False):
        if kind is Kind.LITERAL and found != text:
            return False
        if kind is Kind.PREFIX and not (found.startswith(text) and len(found) > len(text)):
            return False
        if kind is Kind.PARAMETER and not found:
            return False
    return True


def rank(segments: tuple[Segment, ...]) -> tuple[tuple[int, int], ...]:
    """What makes a pattern more specific than another that fits too; the smallest wins."""
    return tuple((segment.kind, -len(segment.text)) for segment in segments)


words = st.sampled_from(["a", "b", "ab", "aab", "a-", "é", "%"])
segment_texts = st.one_of(
    st.sampled_from(["a", "b", "ab", "aab", "a-"]),
    st.sampled_from(["a{x}", "ab{x}", "aa{x}", "{x}"]),
)


@st.composite
def patterns(draw: st.DrawFn) -> str:
    texts = draw(st.lists(segment_texts, min_size=1, max_size=4))
    texts += draw(st.sampled_from([[], [], ["{x:path}"], [""]]))
    return "/" + "/".join(text.replace("x", f"p{index}") for index, text in enumerate(texts))


@st.composite
def paths(draw: st.DrawFn) -> str:
    segments = draw(st.lists(st.one_of(words, st.sampled_from(["", "a", "ab", "aabb"])), min_size=1, max_size=5))
    encoded = []
    for segment in segments:
        always = draw(st.booleans())
        encoded.append("".join(c if c.isascii() and c != "%" and not always else _escaped(c) for c in segment))
    return "/" + "/".join(encoded)


def _escaped(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode())


@given(st.lists(patterns(), min_size=1, max_size=12), paths())
def test_the_trie_agrees_with_a_matcher_that_tries_every_pattern(written: list[str], path: str) -> None:
    unique = {shape_of(parse(pattern)): pattern for pattern in written}
    raw, decoded = split(path)
    fitting = [p for p in unique.values() if fits(parse(p), decoded)]
    found = trie_of(list(unique.values())).find(raw, decoded)
    if not fitting:
        assert found is None
        return
    assert found is not None
    pattern, params = found
    assert pattern == min(fitting, key=lambda p: rank(parse(p)))
    assert rebuilt(parse(pattern), params) == unquote_to_bytes(path)


def rebuilt(segments: tuple[Segment, ...], params: dict[str, str]) -> bytes:
    """The decoded path, from a pattern and its raw parameters."""
    parts = [text.encode() + unquote_to_bytes(params.get(name, "")) for _, text, name in segments]
    return b"/" + b"/".join(parts)


@given(st.text(max_size=30).map(lambda text: "/" + text))
def test_any_text_is_split_or_refused_and_its_segments_are_its_own(path: str) -> None:
    try:
        raw, decoded = split(path)
    except Problem as problem:
        assert problem.code == "bad_request"
    else:
        assert "/" + "/".join(raw) == path
        assert not {".", ".."} & set(decoded)


@given(st.text(max_size=30).map(lambda text: "/" + text))
def test_any_pattern_is_parsed_or_refused_with_a_reason(pattern: str) -> None:
    try:
        segments = parse(pattern)
    except ValueError as error:
        assert str(error)
    else:
        assert len(segments) == pattern.count("/")


GUARDED = ["/a/login", "/a/Top/{x}", "/a/b/", "/a/pre-fix", "/a/in/{rest:path}", "/a/{x}/log"]
OPEN = ["/a/{x}", "/a/pre-{x}", "/a/{x}/{y}", "/{rest:path}", "/a/a;b"]


@pytest.fixture(scope="module")
def tricky(tmp_path_factory: pytest.TempPathFactory) -> Table:
    """Guarded routes, and laxer ones that take almost anything beside them."""
    routes = "\n".join(f'[[route]]\npath = "{path}"\nupstream = "b"\nencoded_slash = true\n' for path in GUARDED + OPEN)
    return load(tmp_path_factory.mktemp("tricky"), routes)


def tidied(path: str) -> str:
    """Without empty segments, as many servers read a path."""
    return "/" + "/".join(filter(None, path.split("/"))) + ("/" if path.endswith("/") else "")


def each(path: str, change: Callable[[str], str]) -> str:
    return "/".join(map(change, path.split("/")))


UPSTREAMS: dict[str, Callable[[str], str]] = {
    "is plain": unquote,
    "folds case": lambda path: unquote(path).casefold(),
    "folds capitals": lambda path: unquote(path).upper(),
    "decodes twice": lambda path: unquote(unquote(path)),
    "merges slashes": lambda path: tidied(unquote(path)),
    "drops a slash at the end": lambda path: unquote(path).rstrip("/"),
    "adds a slash at the end": lambda path: unquote(path) + "/",
    "cuts parameters off": lambda path: each(unquote(path), lambda segment: segment.partition(";")[0]),
    "cuts dots and spaces off": lambda path: each(unquote(path), lambda segment: segment.rstrip(". ")),
    "drops what it can't decode": lambda path: unquote(path, errors="ignore"),
    "does it all": lambda path: tidied(
        each(unquote(unquote(path, errors="ignore")), lambda s: s.partition(";")[0].strip(" ").rstrip(". ").casefold())
    ).rstrip("/"),
}


def served_as(path: str, folded: bool) -> str | None:
    """The pattern whose handler an upstream runs for what it has made of a path."""
    segments = path[1:].split("/")
    known = [(pattern, parse(pattern.casefold() if folded else pattern)) for pattern in GUARDED + OPEN]
    fitting = [(rank(parsed), pattern) for pattern, parsed in known if fits(parsed, segments)]
    return min(fitting)[1] if fitting else None


PARTS = [
    "a",
    "a",
    "a",
    "login",
    "LOGIN",
    "top",
    "pre-fix",
    "pre-FIX",
    "pre-",
    "in",
    "log",
    "b",
    "x",
    ".",
    "..",
    ";",
    ";x",
    "%3Bx",
    "%2e",
    "%20",
    "%2F",
    "%252F",
    "%256c",
    "og",
    "%6C",
    "%FF",
    "/",
    "/",
    "//",
    "%C5%BF",
    "%E2%84%AA",
    "%25",
    "In",
    "A",
    "Log/",
    "%252e",
    ".",
    "x",
]


@given(st.lists(st.sampled_from(PARTS), min_size=1, max_size=7).map(lambda found: "/a/" + "".join(found)))
def test_no_upstream_finds_a_guarded_route_behind_a_path_that_meant_an_open_one(tricky: Table, path: str) -> None:
    try:
        meant = tricky.match(path).endpoint.pattern
    except Problem as problem:
        assert problem.code in ("bad_request", "route_not_found")
        return
    if meant in GUARDED:
        return
    for name, reads in UPSTREAMS.items():
        read = reads(path)
        served = served_as(read.casefold() if "capitals" in name else read, "capitals" in name or read.islower())
        assert served not in GUARDED, f"an upstream that {name} reads {read!r}"
        assert not {".", ".."} & set(read.split("/")), f"an upstream that {name} reads {read!r}"


READINGS = [
    (["a", "b"], [["a", "b"]]),
    (["a", "B", ""], [["a", "b", ""]]),
    (["a;b", ";", "c?d", "e#f"], [["a;b", ";", "c?d", "e#f"], ["a", "c", "e"]]),
    (["a. .", " b ", "..."], [["a. .", " b ", "..."], ["a", "b", ""]]),
    (["a%2Fb"], [["a%2fb"], ["a", "b"]]),
    (["%4a%254b"], [["%4a%254b"], ["j%4b"], ["jk"]]),
    (["\uff21\uff0f\uff22\u00a0"], [["\uff41\uff0f\uff42\u00a0"], ["a", "b "], ["a", "b"]]),
    (["a\udcffb"], [["a\udcffb"], ["ab"]]),
    (["a", "/", "b/"], [["a", "b", ""]]),
    (["/", ""], [[""]]),
    ([""], [[""]]),
]


@pytest.mark.parametrize(("segments", "readings"), READINGS)
def test_the_lax_readings_of_a_path_are_those_of_lax_upstreams(segments: list[str], readings: list[list[str]]) -> None:
    assert {tuple(reading) for reading in lax_readings(segments)} == {tuple(reading) for reading in readings}


@given(st.lists(st.text(max_size=8), min_size=1, max_size=4))
def test_any_segments_are_read_laxly_or_refused(segments: list[str]) -> None:
    path = "/" + "/".join("".join(map(_escaped, segment)) for segment in segments if segment.isprintable())
    try:
        readings = lax_readings(split(path)[1])
    except Problem as problem:
        assert problem.code == "bad_request"
    else:
        assert all(all(reading[:-1]) and not {".", ".."} & set(reading) for reading in readings)


def test_a_semicolon_of_the_pattern_s_own_is_taken(tricky: Table) -> None:
    assert tricky.match("/a/a;b").endpoint.pattern == "/a/a;b"
    with pytest.raises(Problem) as caught:
        tricky.match("/a/a;c")
    assert caught.value.code == "bad_request"


def test_a_table_without_siblings_takes_any_case_dots_and_escapes(tmp_path: Path) -> None:
    table = load(
        tmp_path, '[[route]]\npath = "/a/{x}"\nupstream = "b"\n\n[[route]]\npath = "/F/{x:path}"\nupstream = "b"\n'
    )
    for path in ("/a/LOGIN", "/a/x.", "/a/%41%20", "/F/a/B/", "/F/%E4%BD%A0/"):
        assert table.match(path).endpoint.pattern in ("/a/{x}", "/F/{x:path}")
