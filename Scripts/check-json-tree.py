#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Part of swift-managed-heap. See LICENSE.
"""Checks the example json-tree against Python's json.

    python3 Scripts/check-json-tree.py .build/release/json-tree [DOCUMENT...] [--random N] [--seed S]

Runs the program on documents that are written out below (what RFC 8259 allows and what it does not),
on deeply nested ones, on N random ones and as many damaged ones, and on the documents given. For
each one, the program and Examples/json-tree/compare.py must agree: the same lines for a document that
is well-formed, status 65 and a message with line and column for one that is not. Exits with 1 if
there is any disagreement, and says which.
"""

import argparse
import importlib.util
import json
import os
import random
import re
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# ---------------------------------------------------------------- documents

# Well-formed. Text, or bytes where it matters.
GOOD = [
    # scalars at the top
    "0", "-0", "1", "-1", "10", "123456789", "true", "false", "null", '""', '"a"', "[]", "{}",
    " \t\r\n1 \t\r\n", "\n\n[]\n\n",
    # numbers
    "[0.0, -0.0, 0e0, 0E+0, 0e-0, -0e5, 0.5, -0.25, 1.0, 1e1, 1E1, 1e+1, 1e-1, 1.5e3]",
    "[1e400, 2]", "[-1e400]", "[1e400, -1e400]", "[1e-400, 4.9e-324, 2.4e-324, 2.5e-324]",
    "[1e22, 1e23, 8.5e22, 9007199254740993, 9007199254740992, 9007199254740991]",
    "9007199254740993.0", "18446744073709551615", "18446744073709551616", "-9223372036854775808",
    "0.1", "1.7976931348623157e308", "1.7976931348623159e308", "2.2250738585072011e-308",
    "123e65", "1e16", "12345678901234567", "17999999999999999", "1e17", "1e15", "-1e16", "0.0001",
    "0.00001", "123456.789e-10", "5e-324", "1" + "0" * 308, "1" + "0" * 309, "9" * 5000,
    "0." + "0" * 400 + "1e400", "0." + "3" * 5000, "1e99999999999999999999999",
    "1e-99999999999999999999999", "0e99999999999999999999999", "1e0000000000000000000000001",
    "3.141592653589793238462643383279", "1.00000000000000011102230246251565404236316680908203125",
    "1.00000000000000011102230246251565404236316680908203126", "6929495644600919.5",
    # strings
    r'"\"\\\/\b\f\n\r\t"', r'"\u0041\u00e9\u20ac\uFFFF"', r'"\u0000"', r'"\ud83d\ude00"',
    r'"\uD83D\uDE00\ud83d\ude00"', '"\x7f"', '"é€😀"', '"\u2028\u2029\ufeff"', '"\ufffe\uffff\U0010ffff"',
    r'"a\u0062c"', r'"\\u0041"', r'"\/"', '"' + "x" * 100000 + '"', '"' + "é" * 100000 + '"',
    # halves of surrogate pairs: one code point each, in whatever order
    r'"\ud800"', r'"\udc00"', r'"\ud800\ud800"', r'"\udc00\ud800"', r'"\ud800\ud800\udc00"',
    r'"\ud800x"', r'"\ud800\n"', r'"\ud800\u0041"', r'"\uDBFF\uDFFF"', r'"\udbffé"', r'"x\ud800"',
    # containers
    "[[]]", "[[],[]]", "[{}]", '{"":[]}', "[1,2,3]", "[ 1 , 2 ]", "[\n1\n,\n2\n]", '{"a":1}',
    '{ "a" : 1 , "b" : [ ] }', '{"a":{"b":{"c":{}}}}', "[null,true,false,\"\",0]",
    "[[1,[2,[3,[4,[5]]]]],6]", "[[[[[[[[[[]]]]]]]]]]", "[" + ",".join(["[]"] * 1000) + "]",
    "{" + ",".join(f'"{n}":{n}' for n in range(3000)) + "}",
    # a name more than once: the last value counts, at the place of the first
    '{"a":1,"a":2}', '{"a":1e16,"b":1,"a":1}', '{"a":1,"b":-1e16,"c":1e16,"a":1e16}',
    '{"a":[1,2,3],"a":null}', '{"a":{"b":[[[[]]]]},"a":"x"}', '{"":0,"":1,"":2}',
    '{"a":1,"b":2,"a":3,"b":4,"c":5,"a":6}', r'{"a":1,"\u0061":2}', r'{"\ud800":1,"\ud801":2}',
    r'{"\ud83d\ude00":1,"😀":2}', '{"é":1,"e\u0301":2}', '{"a":{"a":{"a":1}},"b":{"a":2}}',
    "{" + ",".join(f'"{n % 70}":{n}' for n in range(3000)) + "}",
    '[{"a":1},{"a":2},{"a":3,"a":4}]',
    # a byte order mark
    b"\xef\xbb\xbf[1]", b'\xef\xbb\xbf {"a":"\xef\xbb\xbf"}',
]

# Not well-formed.
BAD = [
    # nothing, or too much
    "", " ", "\n", "1 2", "[] []", "{}{}", "[]]", "{}}", "[],", "1,", "null null", '"a" "b"', "[1]x",
    "//x\n1", "/*x*/1", "1#", "\ufeff\ufeff1", "[]\0", "\0", "[\0]", "1\0",
    # containers
    "[", "]", "{", "}", "[1", "[1,", "[1,]", "[,1]", "[,]", "[1,,2]", "[1 2]", "[1;2]", "[1:2]",
    "[}", "{]", "[1}", '{"a":1]', '{"a"', '{"a":', '{"a":}', '{"a":1', '{"a":1,', '{"a":1,}',
    '{,"a":1}', '{"a" 1}', '{"a":1 "b":2}', '{"a":1,,"b":2}', "{a:1}", "{'a':1}", "{1:1}",
    "{null:1}", '{"a"::1}', '{"a",1}', '{[]:1}', '{{}:1}', "[[[", '{"a":{"a":{"a":', "(1)", "<1>", ":", ",",
    # words
    "nul", "nulll", "tru", "truE", "True", "TRUE", "fals", "falsy", "NULL", "None", "undefined", "t", "[n]",
    "NaN", "Infinity", "-Infinity", "-NaN", "+Infinity", "nan", "inf", "-inf", "[NaN]", '{"a":Infinity}',
    # numbers
    "-", "+1", "01", "00", "-01", "-00", "1.", ".5", "-.5", "1.e5", "1e", "1e+", "1E-", "1e1.5", "1.5.5",
    "0x10", "0b1", "0o7", "1_000", "1,000", "- 1", "1 e5", "1e 5", "1e5e5", "--1", "-+1", "1-", "1+1",
    "1f", "1n", "1L", "$1", "1%", "１", "٣", "[0123]", "[1.]", "[-]", "[.1]", "∞", "½", "1e1 000",
    # strings
    '"', '"a', '"a\\', '"a\\"', "'a'", '"\\x41"', '"\\a"', '"\\0"', '"\\\'"', '"\\ "', '"\\U0041"', "a",
    '"\\u"', '"\\u0"', '"\\u00"', '"\\u004"', '"\\u004g"', '"\\u+041"', '"\\u 041"', '"\\u0x41"', '"\\u',
    '"\\ud800\\u"', '"\\ud800\\u00"', '"\\ud800\\udc0"', '"\\ud800\\udc0g"', '"\\ud800\\', '"\\ud800',
    '"\n"', '"\t"', '"\r"', '"\0"', '"\x01"', '"\x1f"', '"a\nb"', '["a\tb"]', '{"a\n":1}', '"\\\n"', '"\\u{41}"',
    "“a”", "`a`", '"a""b"', '["a" "b"]', "\u00a01", "\u20281", "\x0b1", "\x0c1", "\x851",
    # what is not UTF-8
    b"\xff", b'"\xff"', b'"\x80"', b'"\xbf"', b'"\xc3"', b'"\xc3', b'"\xc0\xaf"', b'"\xc1\xbf"',
    b'"\xe0\x80\x80"', b'"\xe0\x9f\xbf"', b'"\xed\xa0\x80"', b'"\xed\xbf\xbf"', b'"\xe2\x82"', b'"\xe2\x82',
    b'"\xf0\x80\x80\x80"', b'"\xf0\x8f\xbf\xbf"', b'"\xf4\x90\x80\x80"', b'"\xf5\x80\x80\x80"',
    b'"\xf8\x88\x80\x80\x80"', b'"\xf0\x9f\x98"', b'"\xf0\x9f\x98', b'"\xe9"', b'{"\xe9":1}', b"[\xa0]",
    b'"\xed\xa0\xbd\xed\xb8\x80"', b'"a\xc3("', b'"\xe2\x28\xa1"', b'"\xf0\x28\x8c\xbc"', b'"\\\xff"',
    b'"x\\n\xff"', b"[1,\xc3\xa9]",
    # byte order marks in the wrong place, and other encodings
    b"[\xef\xbb\xbf1]", b"1\xef\xbb\xbf", b"\xef\xbb", b"\xef\xbb\xbf", b"\xff\xfe[\x00]\x00",
    b"\xfe\xff\x00[\x00]", b"[\x00]\x00", b"\x00[\x00]",
]

# Where and why: document, line, column, a part of the reason.
PLACES = [
    ("", 1, 1, "empty"), ("[1,\n  2,\n  x]", 3, 3, "'x'"), ('{"é": tru}', 1, 7, "true"),
    ("[1\n\n 2]", 3, 2, "',' or ']'"), ('{"a":1;}', 1, 7, "';'"), ('{"a" 1}', 1, 6, "':'"),
    ("[[1],[2", 1, 8, "inside of an array"), ('{"a":[]', 1, 8, "inside of an object"),
    ('["abc', 1, 2, "does not end"), ('"a\\q"', 1, 3, "escape"), ("[01]", 1, 2, "0"),
    ("\ufeff[1,]", 1, 4, "a value"), (b'["\xc3\xa9\xff"]', 1, 4, "UTF-8"), ("1 1", 1, 3, "end of the document"),
    ("[\r\n\r\n?", 3, 1, "'?'"), ("[-]", 1, 3, "digit"), ('"\t"', 1, 2, "control character"),
]


def deep(levels):
    """(name, document, what has to be printed) for nesting that Python cannot parse."""
    def lines(objects, arrays, members, level, numbers, total):
        return (f"objects {objects}\narrays {arrays}\nstrings 0\nnumbers {numbers}\nbooleans 0\nnulls 0\n"
                f"members {members}\ndeepest-level {level}\nlongest-string 0\nnumber-total {total}\n")
    half = levels // 2
    yield "arrays", b"[" * levels + b"]" * levels, lines(0, levels, 0, levels, 0, "0.0")
    yield ("arrays around a number", b"[" * levels + b"7" + b"]" * levels,
           lines(0, levels, 0, levels + 1, 1, "7.0"))
    yield ("objects", b'{"a":' * levels + b"1" + b"}" * levels,
           lines(levels, 0, levels, levels + 1, 1, "1.0"))
    yield ("both, beside numbers", b'[1,{"x":' * half + b"[]" + b"}]" * half,
           lines(half, half + 1, half, 2 * half + 1, half, f"{half}.0"))
    yield "arrays that do not end", b"[" * levels, None
    yield "arrays that end too often", b"[" * levels + b"]" * (levels + 1), None
    yield "arrays that end as objects", b"[" * levels + b"]" * (levels - 1) + b"}", None


class RandomDocuments:
    """Documents from a seed: all kinds of values, odd white space, escapes, repeated names."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def space(self):
        return self.random.choice(["", "", "", " ", "\n", "\r\n\t ", "  "])

    def string(self):
        r = self.random
        parts = []
        for _ in range(r.choice([0, 1, 2, 5, 20])):
            parts.append(r.choice([
                "abc", "é", "€", "😀", r"\n", r"\"", r"\\", r"\/", r"\u0061", r"\ud83d\ude00", r"\ud800", r"\udfff",
                "\x7f", chr(r.randrange(0x20, 0x7f)).replace("\\", "/").replace('"', "'"),
                f"\\u{r.randrange(0x10000):04{r.choice('xX')}}"]))
        return '"' + "".join(parts) + '"'

    def number(self):
        r = self.random
        return r.choice([
            str(r.randrange(-100, 100)), str(r.randrange(-10**20, 10**20)), repr(r.uniform(-1e3, 1e3)),
            repr(r.uniform(-1, 1) * 10.0 ** r.randrange(-300, 300)), f"{r.uniform(-9, 9):.25f}",
            f"{r.randrange(-10**6, 10**6)}E{r.randrange(-330, 330):+d}", "-0", "0.1",
            str(r.randrange(10**40)) + "." + str(r.randrange(10**30)) + "e" + str(r.randrange(-80, 20))])

    def value(self, room):
        r = self.random
        kind = r.random()
        if room <= 0 or kind < 0.3:
            return r.choice([self.number, self.number, self.string, lambda: "null", lambda: "true",
                             lambda: "false"])()
        parts = []
        count = r.choice([0, 1, 2, 3, 8])
        for _ in range(count):
            inner = self.value(room // max(count, 1) - 1)
            if kind > 0.65:
                name = r.choice(['"a"', '"b"', '"c"', r'"\u0061"', '""', self.string()])
                inner = name + self.space() + ":" + self.space() + inner
            parts.append(self.space() + inner + self.space())
        body = ",".join(parts) or self.space()
        return "{" + body + "}" if kind > 0.65 else "[" + body + "]"

    def document(self):
        text = self.space() + self.value(self.random.choice([3, 30, 300])) + self.space()
        # A lone half cannot be written as such, only as an escape; the generator does not.
        return text.encode()

    def damaged(self):
        data = bytearray(self.document())
        for _ in range(self.random.choice([1, 1, 2])):
            at = self.random.randrange(len(data) + 1)
            how = self.random.randrange(4)
            if how == 0 and at < len(data):
                del data[at]
            elif how == 1:
                data.insert(at, self.random.choice(b'[]{},:"\\0129.-+eEtfnu \n\x00\x1f\x80\xbf\xc3\xe2\xed\xf0\xff'))
            elif how == 2 and at < len(data):
                data[at] ^= 1 << self.random.randrange(8)
            else:
                del data[at:]
        return bytes(data)


# ---------------------------------------------------------------- checking

class Checker:
    def __init__(self, program):
        self.program = program
        self.checked = self.failed = 0
        path = os.path.join(ROOT, "Examples", "json-tree", "compare.py")
        spec = importlib.util.spec_from_file_location("compare", path)
        self.compare = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.compare)
        self.folder = tempfile.TemporaryDirectory(prefix="json-tree-")
        self.file = os.path.join(self.folder.name, "document.json")

    def fail(self, name, why):
        self.failed += 1
        print(f"FAILED {name}: {why}", flush=True)

    def run(self, *arguments):
        got = subprocess.run([self.program, *arguments], capture_output=True, timeout=600)
        return got.returncode, got.stdout.decode(), got.stderr.decode(errors="replace")

    def expected(self, data):
        """What has to be printed, or None for a document that is malformed."""
        try:
            return f"{self.compare.Summary(self.compare.load(data))}\n"
        except ValueError:
            return None

    def document(self, name, data, expected):
        """Runs the program on a document; `expected` as above."""
        with open(self.file, "wb") as file:
            file.write(data)
        self.path(name, self.file, expected)

    def path(self, name, path, expected):
        self.checked += 1
        status, out, err = self.run(path)
        if expected is None:
            if status != 65 or out:
                self.fail(name, f"malformed, but status {status}, printed {out[:300]!r}, {err[:300]!r}")
            elif not re.fullmatch(r"json-tree: .*:\d+:\d+: [^\n]+\n", err, re.DOTALL):
                self.fail(name, f"an unexpected message: {err[:300]!r}")
        elif status != 0:
            self.fail(name, f"well-formed, but status {status}: {err[:300]!r}")
        elif out != expected:
            differing = [f"{a} instead of {b}" for a, b in zip(out.splitlines(), expected.splitlines())
                         if a != b]
            self.fail(name, "; ".join(differing) or f"printed {out!r}")
        else:
            figures = json.loads(err.splitlines()[-1])
            if figures["workload"] != "json-tree":
                self.fail(name, f"unexpected figures: {figures}")

    # ------------------------------------------------------------ groups

    def written_documents(self):
        for text, good in [(t, True) for t in GOOD] + [(t, False) for t in BAD]:
            data = text if isinstance(text, bytes) else text.encode()
            expected = self.expected(data)
            if (expected is not None) != good:
                self.fail(repr(data[:60]), "Python does not see it as this list does")
            self.document(repr(data[:60]), data, expected)

    def places(self):
        for text, line, column, reason in PLACES:
            data = text if isinstance(text, bytes) else text.encode()
            with open(self.file, "wb") as file:
                file.write(data)
            self.checked += 1
            status, _, err = self.run(self.file)
            if status != 65 or f":{line}:{column}: " not in err or reason not in err:
                self.fail(repr(text), f"not at {line}:{column}, {reason}: status {status}, {err!r}")

    def command_line(self):
        with open(self.file, "wb") as file:
            file.write(b"[1]")
        missing = os.path.join(self.folder.name, "missing.json")
        for arguments, status in [
                ([], 64), ([self.file, self.file], 64), (["--nonsense", self.file], 64), ([""], 64),
                (["--gc-percent", "x", self.file], 64), (["--gc-percent", "-1", self.file], 64),
                ([self.file, "--gc-percent"], 64), (["--memory-limit", "1QiB", self.file], 64),
                (["--trace=1", self.file], 64), ([missing], 66), ([self.folder.name], 66),
                (["--help"], 0), ([self.file], 0), (["--gc-percent", "off", self.file], 0),
                (["--gc-percent=50", self.file, "--memory-limit", "64MiB"], 0), (["--", self.file], 0)]:
            self.checked += 1
            got, _, err = self.run(*arguments)
            if got != status or (status != 0 and not err.startswith("json-tree: ")):
                self.fail(arguments, f"status {got} instead of {status}: {err[:300]!r}")

    def nesting(self, levels):
        for name, data, expected in deep(levels):
            self.document(f"{levels} levels: {name}", data, expected)

    def random_documents(self, count, seed):
        documents = RandomDocuments(seed)
        for number in range(count):
            for kind, data in [("random", documents.document()), ("damaged", documents.damaged())]:
                before = self.failed
                self.document(f"{kind} document {number} of seed {seed}", data, self.expected(data))
                if self.failed > before:
                    print(f"  {data!r}"[:1000])

    def given(self, path):
        with open(path, "rb") as file:
            self.path(path, path, self.expected(file.read()))


def main():
    parser = argparse.ArgumentParser(description="Checks json-tree against Python's json.")
    parser.add_argument("program", help="the executable json-tree")
    parser.add_argument("documents", nargs="*", help="more documents to compare")
    parser.add_argument("--random", type=int, default=200, metavar="N", help="random documents")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--levels", type=int, default=1_000_000, help="deepest nesting")
    options = parser.parse_intermixed_args()

    checker = Checker(os.path.abspath(options.program))
    checker.command_line()
    checker.written_documents()
    checker.places()
    checker.nesting(1000)
    checker.nesting(options.levels)
    checker.random_documents(options.random, options.seed)
    for path in options.documents:
        checker.given(path)
    print(f"{checker.checked} checks (random ones from seed {options.seed}), {checker.failed} failed")
    return 1 if checker.failed else 0


if __name__ == "__main__":
    sys.exit(main())
