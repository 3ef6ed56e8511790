// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// A dictionary whose values are weak.
//
//     HeapWeakDictionary ──► WeakDictionaryObject { dead, table }
//                                                        │
//     HeapDictionary: key → cell ┄┄► object  ◄───────────┘
//
// The values are the cells of weak references (WeakHeapRef). A cell knows the dictionary, and the
// collector counts there when it empties the cell (`dead`). So the number of living entries is known
// without a look at each. An entry whose object has died stays in the table, unseen, until one half of
// the entries is dead and another one is added.

internal import CHeapShims
internal import Collector
internal import Heap
internal import Synchronization

/// What a weak dictionary refers to.
@frozen @usableFromInline package struct WeakDictionaryObject<Key: Hashable>: HeapObject {
  /// Entries whose objects have died. The collector adds to it. Invariant: byte 0 of the object.
  var dead = 0
  var table: HeapDictionary<Key, HeapRef<WeakCell>>
}

/// A dictionary in a managed heap that does not keep its values alive.
///
/// An entry is gone when its object is: a symbol table, a cache of what is in use anyway. Keys are as
/// in a ``HeapDictionary``, and are kept as long as the entry is.
///
/// ```swift
/// let symbols = HeapWeakDictionary<HeapString, Symbol>(in: mutator)
/// let symbol = symbols.value(forKey: name, in: mutator) {
///   mutator.allocate(Symbol(name: name))
/// }
/// for (name, symbol) in symbols { print(name, symbol.arity) }
/// ```
///
/// An object that refers to its own key does not keep itself alive. A key must not refer to its object:
/// the dictionary keeps the key. (Use a ``HeapEphemeronMap`` for values that belong to an object.)
///
/// What ``HeapDictionary`` says of loops and of threads holds here, too. While a loop goes over it,
/// entries may go because their objects do.
@safe @frozen
public struct HeapWeakDictionary<Key: Hashable, Object: HeapObject>: _HeapNonNullReference {
  @usableFromInline let object: HeapRef<WeakDictionaryObject<Key>>

  /// Makes an empty dictionary.
  ///
  /// Without memory, or for keys that cannot be kept in the heap, the program stops with a message.
  /// A safepoint.
  ///
  /// - Parameter mutator: the calling thread's mutator.
  public init(in mutator: HeapMutator) {
    object = mutator.allocate(WeakDictionaryObject(table: HeapDictionary(in: mutator)))
  }

  private var table: HeapDictionary<Key, HeapRef<WeakCell>> { object.table }
  private var deadCount: MapCount { unsafe MapCount(object._raw) }

  /// The number of entries whose objects live, as far as collections have found out.
  ///
  /// - Complexity: O(1).
  public var count: Int { Swift.max(table.count - deadCount.value, 0) }

  /// Whether there is no entry.
  public var isEmpty: Bool { count == 0 }

  // MARK: - Looking

  /// The object of a key, or nil if there is none.
  ///
  /// - Complexity: O(1) on average, beside the hash and a comparison of the key.
  public subscript(key: Key) -> HeapRef<Object>? {
    guard let cell = table[key] else { return nil }
    return Self.target(of: cell)
  }

  /// The object of a cell, if it lives.
  fileprivate static func target(of cell: HeapRef<WeakCell>) -> HeapRef<Object>? {
    let address = unsafe WeakCellAddress(cell._raw)
    let word = heap_barrier_is_up() ? mutator(of: cell).target(of: address) : loaded(address)
    // SAFETY: the address of an object of this type, or zero, which is nil.
    return unsafe unsafeBitCast(word, to: HeapRef<Object>?.self)
  }

  private static func loaded(_ cell: WeakCellAddress) -> UInt {
    // As WeakHeapRef.get.
    atomicMemoryFence(ordering: .acquiring)
    return cell.target
  }

  private static func mutator(of cell: HeapRef<WeakCell>) -> AttachedMutator {
    let owner = unsafe ArenaTables.find(UInt(bitPattern: cell._raw))?.owner ?? 0
    guard let mutator = AttachedMutator.current(in: owner) else {
      broken(
        "a HeapWeakDictionary was used by a thread that is not attached to its heap: use it inside "
          + "withMutator, and keep a HeapRoot elsewhere")
    }
    return mutator
  }

  // MARK: - Changing

  /// Gives a key an object. The key is added if it is not there.
  ///
  /// Without memory the program stops with a message. A safepoint.
  ///
  /// - Parameters:
  ///   - value: the object.
  ///   - key: the key.
  ///   - mutator: the calling thread's mutator.
  /// - Returns: the key's object until now, or nil if there was none that lives.
  /// - Complexity: O(1) on average over many calls, beside the hash and a comparison of the key.
  @discardableResult
  public func updateValue(
    _ value: HeapRef<Object>, forKey key: Key, in mutator: HeapMutator
  ) -> HeapRef<Object>? {
    dropDead()
    let owner = UInt(bitPattern: unsafe object._raw)
    let cell = unsafe mutator.makeCell(value._raw, owner: owner)
    let old = table.updateValue(cell, forKey: key, in: mutator)
    // Until here the object is on this thread's stack.
    withExtendedLifetime(value) {}
    guard let old else { return nil }
    return forget(old)
  }

  /// The object of a key, which is added with a new object if there is none that lives.
  ///
  /// - Parameters:
  ///   - key: the key.
  ///   - mutator: the calling thread's mutator.
  ///   - make: makes the object. It may use the dictionary.
  /// - Complexity: O(1) on average over many calls, beside the hash and a comparison of the key.
  public func value<Failure: Error>(
    forKey key: Key, in mutator: HeapMutator,
    orInsert make: () throws(Failure) -> HeapRef<Object>
  ) throws(Failure) -> HeapRef<Object> {
    if let value = self[key] { return value }
    let value = try make()
    // The object's maker may have added the key itself.
    if let value = self[key] { return value }
    updateValue(value, forKey: key, in: mutator)
    return value
  }

  /// Removes a key.
  ///
  /// - Parameter key: the key.
  /// - Returns: its object, or nil if there was none that lives.
  /// - Complexity: O(1) on average, beside the hash and a comparison of the key.
  @discardableResult
  public func removeValue(forKey key: Key) -> HeapRef<Object>? {
    guard let cell = table.removeValue(forKey: key) else { return nil }
    return forget(cell)
  }

  /// The object of a cell that the table no longer has.
  private func forget(_ cell: HeapRef<WeakCell>) -> HeapRef<Object>? {
    let target = Self.target(of: cell)
    // If the collector has emptied it, it has counted it.
    if unsafe !WeakCellAddress(cell._raw).clear() { deadCount.add(-1) }
    return target
  }

  /// Removes the entries whose objects have died, if they are half of all.
  private func dropDead() {
    guard deadCount.value > Swift.max(table.count / 2, 8) else { return }
    var dropped = 0
    table.removeAll { entry in
      let isDead = unsafe WeakCellAddress(entry.value._raw).target == 0
      dropped += isDead ? 1 : 0
      return isDead
    }
    deadCount.add(-dropped)
  }
}

extension HeapWeakDictionary: Sequence {
  /// The entries whose objects live, in the order in which their keys were added.
  public struct Iterator: IteratorProtocol {
    fileprivate var entries: HeapDictionary<Key, HeapRef<WeakCell>>.Iterator

    /// The next entry, or nil.
    public mutating func next() -> (key: Key, value: HeapRef<Object>)? {
      while let (key, cell) = entries.next() {
        if let value = HeapWeakDictionary.target(of: cell) { return (key, value) }
      }
      return nil
    }
  }

  /// An iterator over the entries.
  public func makeIterator() -> Iterator { Iterator(entries: table.makeIterator()) }

  /// Zero: entries may go at any time.
  public var underestimatedCount: Int { 0 }
}

extension HeapWeakDictionary where Key == HeapString {
  /// The object of the key with a text, or nil if there is none. Allocates nothing.
  ///
  /// - Complexity: O(length of `text`) on average.
  public subscript(text: some StringProtocol) -> HeapRef<Object>? {
    guard let cell = table[text] else { return nil }
    return Self.target(of: cell)
  }
}

/// References belong to the threads that are attached to their heap.
@available(
  *, unavailable,
  message: "a reference is valid inside withMutator only, on that thread: hand a HeapRoot to others"
)
extension HeapWeakDictionary: Sendable {}

extension HeapWeakDictionary: Hashable {
  /// Whether both are the same dictionary.
  public static func == (a: HeapWeakDictionary, b: HeapWeakDictionary) -> Bool {
    a.object == b.object
  }

  /// Hashes the identity of the dictionary, not its entries.
  public func hash(into hasher: inout Hasher) { hasher.combine(object) }
}

extension HeapWeakDictionary: CustomStringConvertible, CustomDebugStringConvertible {
  /// The keys and objects that live.
  public var description: String {
    var texts: [String] = []
    for (key, value) in self { texts.append("\(key): \(value)") }
    return "[" + texts.joined(separator: ", ") + "]"
  }

  /// The type, the number of entries and the address.
  public var debugDescription: String {
    "HeapWeakDictionary<\(Key.self), \(Object.self)>(\(count) keys, 0x"
      + String(UInt(bitPattern: unsafe object._raw), radix: 16) + ")"
  }
}
