"""Notices of compilation."""

import io

from underpaint.codec.runtime import compilation


def test_a_closed_stream_costs_the_notices_only() -> None:
    stream = io.StringIO()
    compilation.announce(stream)
    compilation.begin()
    assert stream.getvalue().startswith("compiling functions: ")
    stream.close()
    before = compilation.functions_compiled()
    compilation.end()
    compilation.begin()
    compilation.end()
    assert compilation.functions_compiled() == before + 2
