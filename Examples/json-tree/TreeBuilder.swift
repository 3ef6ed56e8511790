// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// From tokens to a tree.
//
// The builder does not recurse: a document of five million opening brackets is as good as any
// other. What is open is on three stacks:
//
//     open     the containers that are not closed yet: kind, and where their part of the other
//              two stacks begins. Three numbers each, hence a Swift array.
//     values   the values of all open containers, the innermost one's on top. In the heap.
//     keys     the member names of all open objects, likewise. In the heap.
//
// A closing bracket takes the container's part off the stacks, into arrays of the exact length, and
// the container becomes a value of the one around it. So every node is complete when it is made.
//
// The same name twice in an object: the last value counts, at the place of the first, which is what
// Python's json does. Keys are numbered, so a table from number to object tells whether a key has
// occurred in the object at hand, in constant time and without being cleared between objects.

internal import Mutator

/// Builds the tree of one document.
struct TreeBuilder {
  private struct Container {
    let isObject: Bool
    let firstValue: Int
    let firstKey: Int
  }

  private let mutator: HeapMutator
  private(set) var lexer: Lexer
  private var open: [Container] = []
  private var values: HeapStack<Value>
  private var keys: HeapStack<HeapRef<Key>?>
  private var names: KeyTable
  private var seen: [Seen] = []
  private var objectCount = 0

  /// Where a key has occurred last.
  private struct Seen {
    var object = -1
    var place = 0
  }

  init(_ source: Source, in mutator: HeapMutator) {
    self.mutator = mutator
    lexer = Lexer(source)
    values = HeapStack(filler: .null, in: mutator)
    keys = HeapStack(filler: nil, in: mutator)
    names = KeyTable(in: mutator)
  }

  // MARK: - Grammar

  /// Reads the whole document.
  mutating func build() throws(SyntaxError) -> Value {
    var token = try lexer.next()
    while true {
      guard var value = try beginValue(&token) else { continue }

      // A value is complete. It may complete any number of containers around it.
      while let container = open.last {
        values.push(value, in: mutator)
        switch try lexer.next() {
        case .comma where container.isObject:
          try readName(try lexer.next())
        case .comma:
          break
        case .endObject where container.isObject:
          value = closeObject()
          continue
        case .endArray where !container.isObject:
          value = closeArray()
          continue
        case .end:
          throw unexpectedEnd()
        default:
          throw expected(container.isObject ? "',' or '}'" : "',' or ']'")
        }
        break
      }
      if open.isEmpty {
        guard try lexer.next() == .end else { throw expected("the end of the document") }
        return value
      }
      token = try lexer.next()
    }
  }

  /// Takes the first token of a value.
  ///
  /// Returns the value, or nil when a container was opened and its first value is to come; `token`
  /// is then the first one of that.
  private mutating func beginValue(_ token: inout Token) throws(SyntaxError) -> Value? {
    mutator.safepoint()
    switch token {
    case .null: return .null
    case .boolean(let value): return .boolean(value)
    case .number(let value): return .number(value)
    case .string: return unsafe .string(lexer.withText { unsafe mutator.allocateBytes($0) })
    case .beginArray:
      begin(isObject: false)
      token = try lexer.next()
      return token == .endArray ? closeArray() : nil
    case .beginObject:
      begin(isObject: true)
      token = try lexer.next()
      if token == .endObject { return closeObject() }
      try readName(token)
      token = try lexer.next()
      return nil
    case .end: throw unexpectedEnd()
    case .endArray, .endObject, .colon, .comma: throw expected("a value")
    }
  }

  /// Takes a member's name and the colon behind it.
  private mutating func readName(_ token: Token) throws(SyntaxError) {
    guard token == .string else {
      throw token == .end ? unexpectedEnd() : expected("a member's name")
    }
    let key = unsafe lexer.withText { unsafe names.key(for: $0, in: mutator) }
    keys.push(key, in: mutator)
    let next = try lexer.next()
    guard next == .colon else { throw next == .end ? unexpectedEnd() : expected("':'") }
  }

  // MARK: - Containers

  private mutating func begin(isObject: Bool) {
    open.append(
      Container(isObject: isObject, firstValue: values.count, firstKey: keys.count))
  }

  private mutating func closeArray() -> Value {
    .array(values.takeArray(from: open.removeLast().firstValue, in: mutator))
  }

  private mutating func closeObject() -> Value {
    let container = open.removeLast()
    dropRepeatedKeys(container)
    let node = ObjectNode(
      keys: keys.takeArray(from: container.firstKey, in: mutator),
      values: values.takeArray(from: container.firstValue, in: mutator))
    return .object(mutator.allocate(node))
  }

  /// Leaves one value for each key: the last one, at the place of the first.
  private mutating func dropRepeatedKeys(_ container: Container) {
    objectCount += 1
    if seen.count < names.count {
      seen += repeatElement(Seen(), count: max(names.count, seen.count * 2) - seen.count)
    }
    let members = keys.count - container.firstKey
    var kept = 0
    for member in 0..<members {
      guard let key = keys[container.firstKey + member] else { continue }
      let value = values[container.firstValue + member]
      let number = key.number
      if seen[number].object == objectCount {
        values[container.firstValue + seen[number].place] = value
        continue
      }
      seen[number] = Seen(object: objectCount, place: kept)
      if kept < member {
        keys[container.firstKey + kept] = key
        values[container.firstValue + kept] = value
      }
      kept += 1
    }
    keys.cut(to: container.firstKey + kept)
    values.cut(to: container.firstValue + kept)
  }

  // MARK: - Errors

  private func expected(_ what: String) -> SyntaxError {
    SyntaxError(at: lexer.tokenStart, "expected \(what)")
  }

  private func unexpectedEnd() -> SyntaxError {
    switch open.last?.isObject {
    case true?: SyntaxError(at: lexer.tokenStart, "the document ends inside of an object")
    case false?: SyntaxError(at: lexer.tokenStart, "the document ends inside of an array")
    case nil: SyntaxError(at: lexer.tokenStart, "the document is empty")
    }
  }
}
