"""The forms of REDIS_URL."""

import pytest

from ws_hub.servers import connect, connect_async, parse_servers


def test_one_server_is_the_url_itself() -> None:
    for url in ("redis://h:1/2", "rediss://u:p@h", "unix:///run/redis.sock?db=1"):
        assert (parse_servers(url).kind, parse_servers(url).url) == ("server", url)


def test_sentinels_have_ports_a_master_a_database_and_logins() -> None:
    url = (
        "rediss+sentinel://u:p%40@h1:1,h2,[::1]:5/mymaster/3?sentinel_password=s&ssl_cert_reqs=none"
    )
    servers = parse_servers(url)
    assert servers.hosts == (("h1", 1), ("h2", 26379), ("::1", 5))
    assert (servers.kind, servers.master) == ("sentinel", "mymaster")
    assert servers.url == "rediss://u:p%40@host/3?ssl_cert_reqs=none"
    assert servers.sentinel_login == (("password", "s"),)
    assert "p%40" not in repr(servers)
    master = connect(url).connection_pool.connection_kwargs
    assert (master["password"], master["db"], master["username"]) == ("p@", 3, "u")
    sentinel = connect_async(url).connection_pool.sentinel_manager.sentinels[0]  # type: ignore[attr-defined]
    assert sentinel.connection_pool.connection_kwargs["password"] == "s"


def test_a_cluster_has_nodes_and_no_database() -> None:
    servers = parse_servers("redis+cluster://h,h2:7000")
    assert (servers.kind, servers.hosts) == ("cluster", (("h", 6379), ("h2", 7000)))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://h", "must begin with redis://"),
        ("redis+cluster://", "must begin with redis://"),
        ("redis+cluster://h:99999", "host:port"),
        ("redis+cluster://h/2", "no databases"),
        ("redis+sentinel://h", "names the master"),
        ("redis+sentinel://:secret@h/m/x", "names the master"),
    ],
)
def test_what_is_none_is_refused_without_its_password(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as refused:
        parse_servers(url)
    assert "secret" not in str(refused.value)
