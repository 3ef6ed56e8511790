// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Text to values, and back.
//
// The reader's position is in a Swift string, and what it has read so far is in variables: the head and
// the tail of a list, for example. Both are on the stack, where the collector looks.

internal import Mutator

/// Reads expressions.
struct Reader {
  private var rest: Substring
  private let interpreter: Interpreter
  private let mutator: HeapMutator
  private var depth = 0

  /// Lists within each other.
  private static let deepest = 1000

  init(_ text: String, _ interpreter: Interpreter, _ mutator: HeapMutator) {
    rest = text[...]
    self.interpreter = interpreter
    self.mutator = mutator
  }

  /// The next expression; nil at the end of the text.
  mutating func next() throws(LispError) -> HeapValue? {
    skipSpace()
    guard let character = rest.first else { return nil }
    switch character {
    case "(":
      rest.removeFirst()
      return try list()
    case ")": throw LispError("a ) has no (")
    case "'":
      rest.removeFirst()
      guard let quoted = try next() else { throw LispError("a ' stands before nothing") }
      let form = mutator.allocate(Pair(first: quoted, rest: .nil))
      let quote = interpreter.intern("quote", in: mutator)
      return HeapValue(
        mutator.allocate(Pair(first: HeapValue(quote), rest: HeapValue(form))))
    case "\"": return try text()
    default: return atom()
    }
  }

  private mutating func list() throws(LispError) -> HeapValue {
    depth += 1
    defer { depth -= 1 }
    guard depth <= Self.deepest else { throw LispError("the text is nested too deeply") }
    var (head, tail) = (HeapValue.nil, nil as HeapRef<Pair>?)
    while true {
      skipSpace()
      if rest.first == ")" {
        rest.removeFirst()
        return head
      }
      guard let element = try next() else { throw LispError("a ( has no )") }
      let pair = mutator.allocate(Pair(first: element, rest: .nil))
      if let tail { tail.rest = HeapValue(pair) } else { head = HeapValue(pair) }
      tail = pair
    }
  }

  private mutating func text() throws(LispError) -> HeapValue {
    let body = rest.dropFirst()
    guard let end = body.firstIndex(of: "\"") else { throw LispError("a \" has no end") }
    rest = body[body.index(after: end)...]
    return HeapValue(mutator.allocateString(body[..<end]))
  }

  private mutating func atom() -> HeapValue {
    let word = rest.prefix { !$0.isWhitespace && $0 != "(" && $0 != ")" && $0 != "'" }
    rest = rest[word.endIndex...]
    if let whole = Int(word), let value = HeapValue(exactly: whole) { return value }
    if let real = Double(word) { return HeapValue(mutator.allocate(Real(value: real))) }
    return HeapValue(interpreter.intern(word, in: mutator))
  }

  private mutating func skipSpace() {
    while let character = rest.first {
      if character == ";" {
        rest = rest.drop { $0 != "\n" }
      } else if character.isWhitespace {
        rest.removeFirst()
      } else {
        return
      }
    }
  }
}

/// Writes values.
enum Printer {
  /// Elements of a list that are written. The list may be a circle.
  private static let longest = 1000
  /// Lists within each other.
  private static let deepest = 100

  static func text(of value: HeapValue, depth: Int = 0) -> String {
    if value.isNil { return "()" }
    if let whole = value.immediate { return "\(whole)" }
    if let real = value.as(Real.self) { return "\(real.value)" }
    if let symbol = value.as(Symbol.self) { return String(symbol.name) }
    if let text = value.as(HeapString.self) { return "\"\(String(text))\"" }
    if value.is(Lambda.self) { return "#<lambda>" }
    if let native = value.as(Native.self) { return Natives.all[native.number].name }
    guard depth < deepest else { return "…" }
    var (words, rest) = ([String](), value)
    while let pair = rest.as(Pair.self) {
      guard words.count < longest else { return "(\(words.joined(separator: " ")) …)" }
      words.append(text(of: pair.first, depth: depth + 1))
      rest = pair.rest
    }
    if !rest.isNil { words += [".", text(of: rest, depth: depth + 1)] }
    return "(\(words.joined(separator: " ")))"
  }
}
