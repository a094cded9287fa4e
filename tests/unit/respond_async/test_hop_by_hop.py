from respond_async.hop_by_hop import end_to_end


def test_what_belongs_to_one_connection_is_left_out() -> None:
    headers = [
        (b"Connection", b"keep-alive, X-Mine"),
        (b"Keep-Alive", b"timeout=5"),
        (b"x-mine", b"1"),
        (b"a", b"1"),
        (b"Transfer-Encoding", b"chunked"),
        (b"A", b"2"),
        (b"Proxy-Authorization", b"Basic x"),
    ]
    assert end_to_end(headers) == [(b"a", b"1"), (b"A", b"2")]


def test_a_connection_header_cannot_take_away_what_the_request_is() -> None:
    headers = [
        (b"connection", b"authorization, cookie, host, content-length, content-type, close"),
        (b"authorization", b"Bearer x"),
        (b"cookie", b"a=1"),
        (b"host", b"shop"),
        (b"content-length", b"1"),
        (b"content-type", b"a/b"),
    ]
    assert end_to_end(headers) == headers[1:]
