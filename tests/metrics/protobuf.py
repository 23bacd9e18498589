"""The few fields of `io.prometheus.client.MetricFamily` that a target needs to show native histograms to a Prometheus.

Written by hand: a generated module would need the schema and a compiler, for three kinds of fields.
"""

import math
import struct

CONTENT_TYPE = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
COUNTER, GAUGE, SUMMARY, HISTOGRAM = 0, 1, 2, 4
ZERO = 1e-9
"""Width of the zero bucket; a histogram without one looks like a classic one without buckets."""


def varint(number):
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def zigzag(number):
    return varint(number << 1 if number >= 0 else (-number << 1) - 1)


def whole(field, number):
    return varint(field << 3) + varint(number)


def signed(field, number):
    return varint(field << 3) + zigzag(number)


def double(field, number):
    return varint(field << 3 | 1) + struct.pack("<d", number)


def part(field, content):
    content = content.encode() if isinstance(content, str) else content
    return varint(field << 3 | 2) + varint(len(content)) + content


def family(name, kind, metrics):
    """One family with its length in front."""
    body = part(1, name) + part(2, "for tests") + whole(3, kind) + b"".join(part(4, metric) for metric in metrics)
    return varint(len(body)) + body


def metric(labels, value, at):
    """A counter (a number) or a histogram (`Histogram`) at a time in milliseconds."""
    pairs = b"".join(part(1, part(1, name) + part(2, text)) for name, text in labels.items())
    kind = part(7, value.encoded()) if isinstance(value, Histogram) else part(3, double(1, value))
    return pairs + kind + whole(6, at)


def summary(labels, quantiles, at):
    """A summary with these quantiles."""
    pairs = b"".join(part(1, part(1, name) + part(2, text)) for name, text in labels.items())
    body = whole(1, 9) + double(2, 9.0) + b"".join(part(3, double(1, q) + double(2, value)) for q, value in quantiles.items())
    return pairs + part(4, body) + whole(6, at)


class Histogram:
    """A native histogram of one process: bucket k holds what lies in (2^((k-1) * 2^-schema), 2^(k * 2^-schema)]."""

    def __init__(self, schema, counts=None, total=0.0):
        self.schema = schema
        self.counts = dict(counts or {})
        self.total = total

    def add(self, value):
        index = math.ceil(math.log2(value) * 2**self.schema - 1e-9)
        self.counts[index] = self.counts.get(index, 0) + 1
        self.total += value

    def copy(self):
        return Histogram(self.schema, self.counts, self.total)

    def encoded(self):
        spans, deltas, before, last = [], [], 0, None
        for index, count in sorted(self.counts.items()):
            if last is not None and index == last + 1:
                spans[-1][1] += 1
            else:
                spans.append([index if last is None else index - last - 1, 1])
            deltas.append(count - before)
            before, last = count, index
        body = whole(1, sum(self.counts.values())) + double(2, self.total) + signed(5, self.schema) + double(6, ZERO) + whole(7, 0)
        body += b"".join(part(12, signed(1, offset) + whole(2, length)) for offset, length in spans)
        return body + part(13, b"".join(zigzag(delta) for delta in deltas))
