import pytest

from ws_hub.origins import origin_allowed


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        (None, "shop.example"),
        ("https://shop.example", "shop.example"),
        ("http://localhost:8000", "localhost:8000"),
        ("https://SHOP.example", "shop.EXAMPLE"),
    ],
)
def test_own_pages_and_programs_may_connect(origin: str | None, host: str) -> None:
    assert origin_allowed(origin, host, [])


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://evil.example", "shop.example"),
        ("https://shop.example.evil.example", "shop.example"),
        ("http://localhost:3000", "localhost:8000"),
        ("null", "shop.example"),
        ("null", "null"),
        ("", ""),
        ("https://[", "shop.example"),
        ("https://shop.example", None),
    ],
)
def test_pages_from_elsewhere_may_not(origin: str, host: str | None) -> None:
    assert not origin_allowed(origin, host, [])


def test_named_origins_may_besides_the_own_host() -> None:
    allowed = ["https://shop.example/"]
    assert origin_allowed("https://shop.example", "api.example", allowed)
    assert origin_allowed("https://api.example", "api.example", allowed)
    assert not origin_allowed("http://shop.example", "api.example", allowed)


def test_a_star_lets_everyone_in() -> None:
    assert origin_allowed("https://evil.example", "shop.example", ["*"])
