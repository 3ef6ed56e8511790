// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Strings: what they are made of, what they compare as, what is found in them, what is made of
// them. New strings need a heap; the rest needs memory only (TestMemory).

import Mutator
import TestSupport
import Testing

@Suite struct HeapStringTests {
  @Test("text comes back as it went in", arguments: ["", "a", "héllo", "🇩🇪", "a\0b", "日本語"])
  func roundTrip(text: String) {
    let string = TestMemory.string(text)
    #expect(String(string) == text)
    #expect(string.description == text && "\(string)" == text)
    #expect(string.count == text.utf8.count && string.isEmpty == text.isEmpty)
    #expect(Array(string.utf8) == Array(text.utf8) && string.utf8.count == text.utf8.count)
    #expect(unsafe string.withUTF8 { unsafe Array($0) } == Array(text.utf8))
    #expect(string.debugDescription == text.debugDescription)
  }

  @Test("strings are equal, ordered and hashed by their bytes")
  func comparison() {
    let words = ["", "a", "aa", "ab", "b", "e\u{301}", "z", "é", "日", "😀"]
    let strings = words.map(TestMemory.string)
    for (i, a) in strings.enumerated() {
      for (j, b) in strings.enumerated() {
        #expect((a == b) == (i == j))
        #expect((a < b) == (i < j), "\(words[i]) < \(words[j])")
      }
      let copy = TestMemory.string(words[i])
      #expect(copy == a && copy.hashValue == a.hashValue)
    }
    #expect(Set(strings + words.map(TestMemory.string)).count == words.count)
  }

  @Test("a string is compared with a Swift string by its bytes")
  func besideSwift() {
    let words = ["", "a", "aa", "ab", "b", "e\u{301}", "z", "é", "日", "a longer text, not small"]
    for (i, word) in words.enumerated() {
      let string = TestMemory.string(word)
      for (j, other) in words.enumerated() {
        let piece = ("<" + other + ">").dropFirst().dropLast()
        #expect((string == other) == (i == j) && (string != other) == (i != j))
        #expect(string.isEqual(to: other) == (i == j) && string.isEqual(to: piece) == (i == j))
        let bytes = (Array(word.utf8), Array(other.utf8))
        #expect((string < other) == bytes.0.lexicographicallyPrecedes(bytes.1))
        #expect((string > piece) == bytes.1.lexicographicallyPrecedes(bytes.0))
      }
    }
    let name = TestMemory.string("let")
    #expect(name.isEqual(to: "let" as StaticString) && !name.isEqual(to: "lets" as StaticString))
    #expect(TestMemory.string("é").isEqual(to: "é" as StaticString))
    switch name {
    case "var": Issue.record("let is not var")
    case "let": break
    default: Issue.record("let is not found")
    }
  }

  @Test("a string that does not lend its bytes is compared, too")
  func foreign() {
    // What a bridged string would be: a view without contiguous storage.
    let text = String(repeating: "Grüße, ", count: 20)
    let string = TestMemory.string(text)
    #expect(string.isEqual(to: text.dropFirst(0)) && string == Substring(text))
    #expect(string.hasPrefix(text.prefix(10)) && string.contains(text.dropFirst(30)))
  }

  // MARK: - Search

  @Test("bytes and texts are found at every place, and only there")
  func search() {
    let text = "to be or not to be"
    let string = TestMemory.string(text)
    for start in 0...string.count {
      let rest = text.utf8.dropFirst(start)
      for byte in [UInt8(ascii: "t"), UInt8(ascii: "o"), UInt8(ascii: "e"), UInt8(ascii: "x")] {
        let expected = rest.firstIndex(of: byte)
          .map { text.utf8.distance(from: text.startIndex, to: $0) }
        #expect(string.firstIndex(of: byte, from: start) == expected)
        let last = text.utf8.prefix(start).lastIndex(of: byte)
          .map { text.utf8.distance(from: text.startIndex, to: $0) }
        #expect(string.lastIndex(of: byte, before: start) == last)
      }
    }
    #expect(string.firstRange(of: "be") == 3..<5)
    #expect(string.firstRange(of: "be", from: 4) == 16..<18)
    #expect(string.firstRange(of: "be", from: 17) == nil)
    #expect(string.firstRange(of: TestMemory.string("to"), from: 1) == 13..<15)
    #expect(string.firstRange(of: "", from: 18) == 18..<18)
    #expect(string.firstRange(of: text) == 0..<18 && string.firstRange(of: text + "!") == nil)
    #expect(string.contains("not") && !string.contains("nut") && string.contains(""))
    #expect(string.contains(TestMemory.string("or")) && string.lastIndex(of: 0x62) == 16)
    let empty = TestMemory.string("")
    #expect(empty.firstIndex(of: 0) == nil && empty.lastIndex(of: 0) == nil)
    #expect(
      empty.contains("") && !empty.contains("a") && empty.hasPrefix("") && empty.hasSuffix(""))
  }

  @Test("prefixes and suffixes are those of the bytes")
  func prefixes() {
    let text = "Grüße"
    let string = TestMemory.string(text)
    for length in 0...text.count {
      let (start, end) = (String(text.prefix(length)), String(text.suffix(length)))
      #expect(string.hasPrefix(start) && string.hasSuffix(end))
      #expect(
        string.hasPrefix(TestMemory.string(start)) && string.hasSuffix(TestMemory.string(end)))
      #expect(!string.hasPrefix(start + "x") && !string.hasSuffix("x" + end))
    }
  }

  @Test("a position outside of the string traps")
  func positions() async {
    let search = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      _ = TestMemory.string("abc").firstIndex(of: 0x61, from: 4)
    }
    #expect(search.said("position 4 in a string of 3 bytes"))
    let last = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      _ = TestMemory.string("abc").lastIndex(of: 0x61, before: -1)
    }
    #expect(last.said("position -1 in a string of 3 bytes"))
  }

  // MARK: - New strings

  @Test("bytes become a string, repaired where they are not UTF-8, or refused")
  func fromBytes() throws {
    let heap = try HeapCheck.heap()
    try heap.withMutator { mutator throws(HeapError) in
      let broken: [[UInt8]] = [
        [0x61, 0xff, 0x62], [0xc3], [0xe2, 0x82], [0xf0, 0x9f, 0x98, 0x61], [0xed, 0xa0, 0x80],
        [0xc0, 0x80], [0x80],
      ]
      for bytes in broken {
        let expected = String(decoding: bytes, as: UTF8.self)
        #expect(mutator.allocateString(utf8: bytes) == expected)
        #expect(mutator.allocateString(utf8: bytes.lazy.map { $0 }) == expected)
        #expect(try mutator.tryAllocateString(utf8: bytes) == expected)
        #expect(mutator.allocateString(validating: bytes) == nil)
        #expect(try mutator.tryAllocateString(validating: bytes) == nil)
      }
      for text in ["", "a", "Grüße", String(repeating: "日本語", count: 5000)] {
        let bytes = Array(text.utf8)
        #expect(mutator.allocateString(utf8: bytes) == text)
        #expect(mutator.allocateString(utf8: bytes.lazy.map { $0 }) == text)
        #expect(try mutator.tryAllocateString(utf8: bytes) == text)
        #expect(mutator.allocateString(validating: bytes)! == text)
        #expect(try mutator.tryAllocateString(validating: bytes)! == text)
        // A part of another string of the heap.
        let string = mutator.allocateString(text)
        #expect(mutator.allocateString(utf8: string.utf8) == string)
        #expect(mutator.allocateString(utf8: string.utf8.dropFirst(0)) == text)
      }
    }
  }

  @Test("slices and concatenations are new strings with the right bytes")
  func parts() throws {
    let heap = try HeapCheck.heap()
    try heap.withMutator { mutator throws(HeapError) in
      let string = mutator.allocateString("Grüße aus Köln")
      #expect(string.slice(0..<2, in: mutator) == "Gr")
      #expect(string.slice(...1, in: mutator) == "Gr")
      #expect(string.slice(2..<4, in: mutator) == "ü")
      #expect(string.slice(8..., in: mutator) == "aus Köln")
      #expect(string.slice(4..<4, in: mutator).isEmpty)
      #expect(string.slice(string.count..., in: mutator).isEmpty)
      #expect(string.slice(0..., in: mutator) == string)
      #expect(try string.trySlice(..<2, in: mutator) == "Gr")
      // What has all of the text is the same string: nothing is allocated.
      #expect(string.slice(0..., in: mutator).bytes == string.bytes)
      let empty = mutator.allocateString("")
      #expect(string.appending(empty, in: mutator).bytes == string.bytes)
      #expect(empty.appending(string, in: mutator).bytes == string.bytes)
      #expect(string.appending("", in: mutator).bytes == string.bytes)

      #expect(string.appending(string, in: mutator) == "Grüße aus KölnGrüße aus Köln")
      #expect(string.appending("!", in: mutator) == "Grüße aus Köln!")
      #expect(try string.tryAppending("!", in: mutator) == "Grüße aus Köln!")
      #expect(try string.tryAppending(string, in: mutator).count == 2 * string.count)
      #expect(empty.appending("a", in: mutator) == "a")
      let long = mutator.allocateString(String(repeating: "x", count: 100_000))
      #expect(long.appending(string, in: mutator).hasSuffix(string))
      #expect(long.appending(long, in: mutator).count == 200_000)
    }
  }

  @Test("an array of strings is joined")
  func joined() throws {
    let heap = try HeapCheck.heap()
    try heap.withMutator { mutator throws(HeapError) in
      let words = mutator.allocateArray(
        of: HeapString.self, count: 3, repeating: mutator.allocateString("ab"))
      words[1] = mutator.allocateString("")
      #expect(words.joined(separator: ", ", in: mutator) == "ab, , ab")
      #expect(words.joined(in: mutator) == "abab")
      #expect(try words.tryJoined(separator: "é", in: mutator) == "abééab")
      let none = mutator.allocateArray(of: HeapString.self, count: 0, repeating: words[0])
      #expect(none.joined(separator: ", ", in: mutator) == "")
    }
  }

  @Test("a slice that would cut a scalar, or is not in the string, traps")
  func badSlices() async {
    let cut = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      try ManagedHeap().withMutator { mutator in
        _ = mutator.allocateString("Grüße").slice(0..<3, in: mutator)
      }
    }
    #expect(cut.said("in the middle of a Unicode scalar, at position 3"))
    let long = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      try ManagedHeap().withMutator { mutator in
        _ = mutator.allocateString("abc").slice(1..<5, in: mutator)
      }
    }
    #expect(long.said("bytes 1..<5 of a string of 3 bytes"))
  }

  @Test("the tried forms throw when there is no memory, and the strings stay")
  func refused() throws {
    let heap = try HeapCheck.heap { $0.hardLimit = 16 << 20 }
    heap.withMutator { mutator in
      let string = mutator.allocateString(String(repeating: "x", count: 9 << 20))
      #expect(throws: HeapError.self) { try string.tryAppending(string, in: mutator) }
      #expect(throws: HeapError.self) { try string.tryAppending(string.description, in: mutator) }
      #expect(throws: HeapError.self) { try string.trySlice(1..., in: mutator) }
      #expect(throws: HeapError.self) { try mutator.tryAllocateString(utf8: string.utf8) }
      #expect(throws: HeapError.self) { try mutator.tryAllocateString(validating: string.utf8) }
      let twice = mutator.allocateArray(of: HeapString.self, count: 2, repeating: string)
      #expect(throws: HeapError.self) { try twice.tryJoined(in: mutator) }
      #expect(string.count == 9 << 20 && string.utf8.last == 0x78)
    }
  }

  @Test("parts survive the collections that the new string's allocation makes")
  func collected() throws {
    let heap = try HeapCheck.heap { $0.stress.collectEvery = 1 }
    heap.withMutator { mutator in
      func text(_ number: Int) -> HeapString {
        mutator.allocateString("number \(number) ").appending(
          mutator.allocateString("is \(number)."), in: mutator)
      }
      for number in 0..<50 {
        let whole = text(number).appending(text(number + 1), in: mutator)
        #expect(whole == "number \(number) is \(number).number \(number + 1) is \(number + 1).")
        let dot = whole.firstIndex(of: UInt8(ascii: "."))!
        #expect(whole.slice((dot + 1)..., in: mutator) == text(number + 1))
      }
    }
  }
}
