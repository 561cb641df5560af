"""Matching: which pattern a path means, beside a slow reference that tries them all, and which paths are refused."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiogateway.errors import Problem
from aiogateway.routes import Table, configure
from aiogateway.routes.patterns import Kind, Segment, Trie, parse, shape_of, split

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
