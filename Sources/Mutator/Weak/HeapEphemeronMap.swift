// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// A map whose entries live as long as their keys do.
//
//     HeapEphemeronMap ──► EphemeronMapObject { dead, used, table }
//                                                             │
//     array of entries, open addressing by the key's address ◄┘
//         └──► EphemeronEntry { key, map, box } ┄┄► EphemeronBox { value }
//
// Between the entry and its key and box lie no references, as far as the marker knows: that is the
// collector's affair (Collector/Weak/Ephemerons.swift), which also empties the entry when the key has
// died. An entry that is empty stays in the table until that grows, and is counted in `dead`, by the
// collector or by whoever has removed it. So looking for a key goes on past it.
//
// An entry never changes but to become empty. Another value for the same key is stored into the box.
//
// Owner       a program's thread at a time; the collector empties entries and adds to `dead` meanwhile.

internal import Collector
internal import Heap

/// What a map refers to.
@frozen @usableFromInline package struct EphemeronMapObject: HeapObject {
  /// Entries of the table that are empty. The collector adds to it. Invariant: byte 0 of the object.
  var dead = 0
  /// Entries of the table, empty ones included.
  var used = 0
  var table: HeapArray<HeapRef<EphemeronEntry>?>
}

/// A key, the map that counts the entry, and the box, all of which the collector takes for numbers.
@frozen @usableFromInline package struct EphemeronEntry: HeapObject {
  var key: UInt
  var map: UInt
  var box: UInt
}

/// A value of an ephemeron map.
struct EphemeronBox<Value>: HeapObject {
  var value: Value
}

/// A map by the identity of its keys, which keeps neither the keys alive nor the values of dead keys.
///
/// An entry lives while the map and its key do. A value may refer to its own key, or to other keys of
/// the map: that does not keep them. So a map can give an object properties that are not in its type,
/// and they go when the object goes.
///
/// ```swift
/// let notes = HeapEphemeronMap<Node, HeapString>(in: mutator)
/// notes.updateValue(text, forKey: node, in: mutator)
/// if let note = notes[node] { print(note) }
/// ```
///
/// It is valid where a ``HeapRef`` is, and may be a field or in a ``HeapRoot``. Values may be whatever fields
/// of a ``HeapObject`` may be. A map that is changed by one thread while another uses it, without a
/// lock, may lose entries.
///
/// A key of less than 16 bytes without references shares its memory with other values: its entry lives
/// as long as any of them.
@safe @frozen
public struct HeapEphemeronMap<Key: HeapObject, Value>: _HeapNonNullReference {
  @usableFromInline let object: HeapRef<EphemeronMapObject>

  /// Makes an empty map.
  ///
  /// Without memory, or for values that cannot be kept in the heap, the program stops with a message.
  /// A safepoint.
  ///
  /// - Parameter mutator: the calling thread's mutator.
  public init(in mutator: HeapMutator) {
    let table = mutator.allocateArray(
      of: HeapRef<EphemeronEntry>?.self, count: EphemeronTableSize.smallest, repeating: nil)
    object = mutator.allocate(EphemeronMapObject(table: table))
  }

  /// The number of keys that live, as far as collections have found out.
  ///
  /// - Complexity: O(1).
  public var count: Int { max(object.used - deadCount.value, 0) }

  /// Whether there is no key.
  public var isEmpty: Bool { count == 0 }

  private var deadCount: MapCount { unsafe MapCount(object._raw) }

  // MARK: - Looking

  /// The entry of a key, or the first free place for it.
  private func find(_ key: HeapRef<Key>) -> (place: Int, entry: HeapRef<EphemeronEntry>?) {
    let word = UInt(bitPattern: unsafe key._raw)
    return Self.find(word, in: object.table)
  }

  private static func find(
    _ key: UInt, in table: HeapArray<HeapRef<EphemeronEntry>?>
  ) -> (place: Int, entry: HeapRef<EphemeronEntry>?) {
    let mask = table.count - 1
    var place = EphemeronTableSize.home(of: key) & mask
    // A quarter of the places is free, unless two threads change the map.
    for _ in 0...mask {
      guard let entry = table[place] else { break }
      if address(of: entry).key == key { return (place, entry) }
      place = (place + 1) & mask
    }
    return (place, nil)
  }

  private static func address(of entry: HeapRef<EphemeronEntry>) -> EphemeronAddress {
    unsafe EphemeronAddress(entry._raw)
  }

  private static func box(of entry: HeapRef<EphemeronEntry>) -> HeapRef<EphemeronBox<Value>> {
    // SAFETY: the entry is not empty, so it has a box of this type.
    unsafe HeapRef(
      _raw: UnsafeMutableRawPointer(bitPattern: address(of: entry).box).unsafelyUnwrapped)
  }

  /// The value of a key, or nil if the key is not there.
  ///
  /// - Complexity: O(1) on average.
  public subscript(key: HeapRef<Key>) -> Value? {
    guard let entry = find(key).entry else { return nil }
    return Self.box(of: entry).value
  }

  // MARK: - Changing

  /// Gives a key a value. The key is added if it is not there.
  ///
  /// Without memory the program stops with a message. A safepoint if the key is new.
  ///
  /// - Parameters:
  ///   - value: the new value.
  ///   - key: the key.
  ///   - mutator: the calling thread's mutator, of the heap of the map and the key.
  /// - Returns: the key's value until now, or nil if the key is new.
  /// - Complexity: O(1) on average over many calls.
  @discardableResult
  public func updateValue(
    _ value: Value, forKey key: HeapRef<Key>, in mutator: HeapMutator
  ) -> Value? {
    if let entry = find(key).entry {
      let box = Self.box(of: entry)
      defer { box.value = value }
      return box.value
    }
    let attached = mutator.attached
    attached.requireRunning()
    let word = UInt(bitPattern: unsafe key._raw)
    if attached.isChecked {
      StoreCheck.check(word, expecting: nil, storedInto: "a HeapEphemeronMap", by: attached)
    }
    StoreCheck.checkOwner(of: word, storedInto: "a HeapEphemeronMap", by: attached)
    makeRoom(mutator)
    let box = mutator.allocate(EphemeronBox(value: value))
    let entry = mutator.allocate(
      EphemeronEntry(
        key: word, map: UInt(bitPattern: unsafe object._raw),
        box: UInt(bitPattern: unsafe box._raw)))
    // No safepoint lies between the two.
    attached.withHeap { $0.ephemerons.add(Self.address(of: entry)) }
    object.table[find(key).place] = entry
    object.used += 1
    // Until here key and box are on this thread's stack.
    withExtendedLifetime((key, box)) {}
    return nil
  }

  /// Removes a key and its value.
  ///
  /// - Parameter key: the key.
  /// - Returns: its value, or nil if the key was not there.
  /// - Complexity: O(1) on average.
  @discardableResult
  public func removeValue(forKey key: HeapRef<Key>) -> Value? {
    guard let entry = find(key).entry else { return nil }
    let value = Self.box(of: entry).value
    Self.address(of: entry).remove()
    deadCount.add(1)
    return value
  }

  // MARK: - Growing

  /// Sees to it that one more entry fits.
  private func makeRoom(_ mutator: HeapMutator) {
    let table = object.table
    guard EphemeronTableSize.isFull(used: object.used, of: table.count) else { return }
    let size = EphemeronTableSize.toHold(count + 1)
    // A safepoint: entries may become empty.
    let larger = mutator.allocateArray(
      of: HeapRef<EphemeronEntry>?.self, count: size, repeating: nil)
    var (moved, dropped) = (0, 0)
    for index in table.indices {
      guard let entry = table[index] else { continue }
      let key = Self.address(of: entry).key
      if key == 0 {
        dropped += 1
      } else {
        // Its own place is taken by nobody.
        larger[Self.find(key, in: larger).place] = entry
        moved += 1
      }
    }
    object.table = larger
    object.used = moved
    deadCount.add(-dropped)
  }
}

/// How large a table is, and where a key belongs in it.
private enum EphemeronTableSize {
  static var smallest: Int { 8 }

  /// Three quarters of the places are taken.
  static func isFull(used: Int, of size: Int) -> Bool { (used + 1) * 4 > size * 3 }

  /// A power of two, of which `count` entries take half at the most.
  static func toHold(_ count: Int) -> Int {
    var size = smallest
    while size < count * 2 { size *= 2 }
    return size
  }

  /// The place of a key before it is cut to the table's size: Fibonacci hashing.
  static func home(of key: UInt) -> Int {
    Int(truncatingIfNeeded: ((key >> 3) &* 0x9e37_79b9_7f4a_7c15) >> 32)
  }
}

/// References belong to the threads that are attached to their heap.
@available(
  *, unavailable,
  message: "a reference is valid inside withMutator only, on that thread: hand a HeapRoot to others"
)
extension HeapEphemeronMap: Sendable {}

extension HeapEphemeronMap: Hashable {
  /// Whether both are the same map.
  public static func == (a: HeapEphemeronMap, b: HeapEphemeronMap) -> Bool { a.object == b.object }

  /// Hashes the identity of the map, not its entries.
  public func hash(into hasher: inout Hasher) { hasher.combine(object) }
}

extension HeapEphemeronMap: CustomStringConvertible, CustomDebugStringConvertible {
  /// The type, the number of keys and the address: keys are not shown, which may be dead.
  public var description: String {
    "HeapEphemeronMap<\(Key.self), \(Value.self)>(\(count) keys, 0x"
      + String(UInt(bitPattern: unsafe object._raw), radix: 16) + ")"
  }

  /// The same as `description`.
  public var debugDescription: String { description }
}
