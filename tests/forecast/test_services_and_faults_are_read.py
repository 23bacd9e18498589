"""What people write about their service and about faults."""

import pytest

from canary.core.forecast.service import Latency, Service, UnreadableError, latency, parse_fault, share, traffic
from canary.core.forecast.words import columns, count, duration, minutes, percent, spark, squeezed


def test_faults_are_absolute_added_or_slow_and_may_be_joined():
    assert parse_fault("errors=2%").rate(0.001) == 0.02
    assert parse_fault("errors=2%").rate(0.05) == 0.05, "a fault makes nothing better"
    assert parse_fault("errors=+0.5%").rate(0.001) == pytest.approx(0.006)
    both = parse_fault("errors=20%,latency=1.3x")
    assert (both.errors, both.slow) == (0.2, 1.3)


@pytest.mark.parametrize("text", ["", "errors", "errors=2", "errors=x%", "latency=fast", "latency=0x", "errors=200%", "speed=2x"])
def test_a_fault_that_nobody_understands_is_named_with_a_way_out(text):
    with pytest.raises(UnreadableError) as caught:
        parse_fault(text)
    assert repr(text) in caught.value.message or "percentage" in caught.value.message
    assert caught.value.hint.startswith("write")


def test_traffic_has_units():
    assert [traffic(text) for text in ("50", "50/s", "3000/m", "36/h")] == [50, 50, 50, 0.01]
    for text in ("0", "-1", "many", "5/day"):
        with pytest.raises(UnreadableError):
            traffic(text)


def test_two_percentiles_say_all_of_a_latency():
    found = latency("p50=80ms,p99=256ms")
    assert found.quantile(0.5) == pytest.approx(80)
    assert found.quantile(0.99) == pytest.approx(256)
    assert found.above(256) == pytest.approx(0.01)
    assert found.above(256, factor=2) == pytest.approx(found.above(128))
    more = latency("p50=80ms,p90=150ms,p99=256ms")
    assert 70 < more.median < 90


@pytest.mark.parametrize("text", ["p99=256ms", "p50=80ms,p99=20ms", "50=80ms,p99=1s", "p50=80,p99=90", "p50=80ms,p100=1s"])
def test_percentiles_that_make_no_latency_are_refused(text):
    with pytest.raises(UnreadableError):
        latency(text)


def test_a_share_needs_its_sign():
    assert share("0.1%", "x") == pytest.approx(0.001)
    with pytest.raises(UnreadableError, match="2"):
        share("2", "x")


def test_harm_of_a_slow_version_is_what_is_slower_than_ninety_nine_of_a_hundred_are_now():
    service = Service(100.0, latency=Latency(80.0, 0.5))
    assert parse_fault("latency=1x").excess(service) == 0
    assert parse_fault("latency=1.3x").excess(service) == pytest.approx(0.0258, abs=0.001)
    assert parse_fault("errors=+0.5%").excess(service) == pytest.approx(0.005)


def test_numbers_read_well():
    assert [percent(value) for value in (0, 0.0012, 0.0955, 0.42, 0.996, 1)] == ["0 %", "0.12 %", "9.6 %", "42 %", "99.6 %", "100 %"]
    assert [minutes(value) for value in (45, 360, 7200, 300000)] == ["45 s", "6 min", "2 h", "3.5 days"]
    assert [count(value) for value in (0.013, 2.55, 1234567)] == ["0.013", "2.5", "1 234 567"]
    assert [duration(value) for value in (61, 3600, 36001)] == ["2m", "60m", "11h"]
    assert columns(("", "a"), [("name", "10")]) == ["       a", "name  10"]


def test_sparks_show_heights_and_gaps():
    assert spark([0, 1, None, 2], top=2) == "▁▅ █"
    assert squeezed([1, None, 3, None, None, 2], 3) == [1, 3, 2]
    assert spark([None]) == " "
