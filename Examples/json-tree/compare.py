#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Part of swift-managed-heap. See LICENSE.
"""Prints what json-tree prints, by means of Python's json, so that the two can be compared.

    diff <(json-tree FILE 2>/dev/null) <(python3 compare.py FILE)

Exit status: 0, or 65 if the document is malformed, 66 if it cannot be read, 3 if it is nested too
deeply for Python, whose parser recurses (about a thousand levels in most versions).

Python's json accepts more than RFC 8259, and reads integers exactly; both is set right here:

- NaN, Infinity and -Infinity are refused;
- every number becomes the nearest double, by float();
- the document is UTF-8, strictly, and may begin with one byte order mark.

What json-tree takes over from Python: the last of several members with the same name counts, at the
place of the first; half of a surrogate pair is a code point by itself.
"""

import json
import sys


class Summary:
    """Counts the values of a document. It is walked without recursion."""

    def __init__(self, document):
        self.objects = self.arrays = self.strings = self.numbers = 0
        self.booleans = self.nulls = self.members = 0
        self.deepest_level = self.longest_string = 0
        self.number_total = 0.0
        # sum() would not do: since Python 3.12 it compensates for rounding.
        stack = [iter([document])]
        while stack:
            for value in stack[-1]:
                self.deepest_level = max(self.deepest_level, len(stack))
                inner = self.count(value)
                if inner is not None:
                    stack.append(inner)
                    break
            else:
                stack.pop()

    def count(self, value):
        """Counts a value; returns an iterator over the values in it."""
        if value is None:
            self.nulls += 1
        elif isinstance(value, bool):
            self.booleans += 1
        elif isinstance(value, float):
            self.numbers += 1
            self.number_total += value
        elif isinstance(value, str):
            self.strings += 1
            self.longest_string = max(self.longest_string, len(value))
        elif isinstance(value, list):
            self.arrays += 1
            return iter(value)
        else:
            self.objects += 1
            self.members += len(value)
            return iter(value.values())
        return None

    def __str__(self):
        return "\n".join(f"{name.replace('_', '-')} {value!r}" for name, value in [
            ("objects", self.objects), ("arrays", self.arrays), ("strings", self.strings),
            ("numbers", self.numbers), ("booleans", self.booleans), ("nulls", self.nulls),
            ("members", self.members), ("deepest-level", self.deepest_level),
            ("longest-string", self.longest_string), ("number-total", self.number_total)])


def refuse(name):
    raise ValueError(f"{name} is not JSON")


def load(data):
    """The value of a document given as bytes. Raises ValueError if it is malformed."""
    # float() takes digits of any number; json's own int() refuses more than 4300 of them.
    return json.loads(data.decode("utf-8-sig"), parse_int=float, parse_constant=refuse)


def main():
    if len(sys.argv) != 2:
        print(f"usage: {sys.argv[0]} FILE", file=sys.stderr)
        return 64
    try:
        with open(sys.argv[1], "rb") as file:
            data = file.read()
    except OSError as error:
        print(f"compare.py: cannot read {sys.argv[1]}: {error.strerror}", file=sys.stderr)
        return 66
    try:
        document = load(data)
    except ValueError as error:
        print(f"compare.py: {sys.argv[1]}: {error}", file=sys.stderr)
        return 65
    except RecursionError:
        print(f"compare.py: {sys.argv[1]}: nested too deeply for Python", file=sys.stderr)
        return 3
    print(Summary(document))
    return 0


if __name__ == "__main__":
    sys.exit(main())
