"""Retry-After and Date: any header value is a number of seconds or nothing, and the three forms of RFC 9110 are read.

An input is how the moment is written, the moment in seconds since the Unix epoch (six bytes), and a header value.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta

from fuzz_input import Source

from aichatfree_sdk.core.retry import parse_http_date, parse_retry_after

NOW = 1_700_000_000.0
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
END = int((datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC) - EPOCH).total_seconds())
# Two digits of a year are read as one of 1969 to 2068.
END_OF_RFC_850 = int((datetime(2069, 1, 1, tzinfo=UTC) - EPOCH).total_seconds())
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

MAX_LEN = 64
TOKENS = (
    *(b"Sun, 06 Nov 1994 08:49:37 GMT", b"Sunday, 06-Nov-94 08:49:37 GMT", b"Sun Nov  6 08:49:37 1994"),
    *(
        b"GMT",
        b"+0000",
        b"-0000",
        b"-2359",
        b"+9999",
        b"EST",
        b" AM",
        b" PM",
        b"(",
        b")",
        b", ",
        b" ",
        b":",
        b".",
        b"-",
    ),
    *(b"1994", b"9999", b"0", b"00", b"69", b"Feb", b"\xb2", b"\xa0", b"1e9", b"nan", b"inf"),
)


def case(value: bytes, form: int = 0, moment: int = 784_111_777) -> bytes:
    return bytes([form]) + moment.to_bytes(6, "big") + value


SEEDS = {
    "seconds": case(b"120"),
    "a fraction": case(b" 0.5 "),
    "no end of digits": case(b"9" * 5000),
    "IMF-fixdate": case(b"Sun, 06 Nov 1994 08:49:37 GMT", 0, END),
    "RFC 850": case(b"Sunday, 06-Nov-94 08:49:37 GMT", 1),
    "asctime": case(b"Sun Nov  6 08:49:37 1994", 2, 0),
    "another time zone": case(b"Sun, 06 Nov 1994 08:49:37 -0500"),
    "no such day": case(b"Fri, 31 Feb 2023 25:61:61 GMT"),
    "no such year": case(b"Sun, 06 Nov 99999 08:49:37 GMT"),
    "the last year, in the west": case(b"Fri, 31 Dec 9999 23:59:59 -2359"),
    "the first year, in the east": case(b"Mon, 01 Jan 0001 00:00:00 +2359"),
    "no date": case(b"soon"),
    "nothing": case(b""),
}
FINDINGS = {
    "leading zeros": case(b"0000000000000120"),
}


def target(data: bytes) -> None:
    source = Source(data)
    form, moment = source.byte(), int.from_bytes(bytes(source.bytes(6)), "big")
    check_value(source.rest().decode("latin-1"))
    check_written(form, moment)


def check_value(value: str) -> None:
    date = parse_http_date(value)
    assert date is None or (type(date) is float and math.isfinite(date))
    wait = parse_retry_after(value, NOW)
    assert wait is None or (type(wait) is float and 0 <= wait < math.inf)
    text = value.strip()
    if re.fullmatch("[0-9]+", text):
        # Beyond 12 digits it only means "never".
        assert wait == min(float(text), 999_999_999_999)
    elif "." not in text:
        assert wait == (None if date is None else max(0.0, date - NOW))


def check_written(form: int, moment: int) -> None:
    moment %= END_OF_RFC_850 if form % 3 == 1 else END + 1
    at = EPOCH + timedelta(seconds=moment)
    day, month, clock = DAYS[at.weekday()], MONTHS[at.month - 1], f"{at:%H:%M:%S}"
    written = (
        f"{day[:3]}, {at.day:02} {month} {at.year:04} {clock} GMT",
        f"{day}, {at.day:02}-{month}-{at.year % 100:02} {clock} GMT",
        f"{day[:3]} {month} {at.day:2} {clock} {at.year:04}",
    )[form % 3]
    assert parse_http_date(written) == moment, written
    assert parse_retry_after(written, NOW) == max(0.0, moment - NOW)
