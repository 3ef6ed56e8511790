// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// A dictionary.
//
// One word, a reference to the dictionary's object, which refers to an index and to the entries:
//
//     HeapDictionary ──► DictionaryObject { index, entries, count, changes }
//                            │        └──► ElementStorage { capacity, used, (key, value)… }
//                            └───────────► DictionaryIndex { mask, places…, bits… }
//
// Entries lie one behind the other in the order in which their keys came. The index says in which entry
// a key is (DictionaryIndex). So going over a dictionary reads its entries in order, growing copies them
// in a row, and what is scattered over memory is the index alone, which the collector does not scan.
//
// A key that is removed leaves a gap in the entries: zeroes, so that it keeps nothing alive, and a clear
// bit in the index. When the entries are full, they move together, into a larger storage if more than
// half of them are there. So the time for that is spread over at least as many insertions.
//
// The program's own code (the hash and `==` of a key) is called while nothing is half done: first the key
// is looked for, then the entry is made. A key whose `==` changes the dictionary gets what it deserves,
// and damages nothing else.
//
// Whatever adds or removes an entry counts in `changes`; an iterator compares it at each step. Giving a
// key another value is no such change.
//
//     HeapDictionary.swift              the reference, looking, updating, removing
//     HeapDictionary+Growth.swift       capacity
//     HeapDictionary+Collection.swift   iteration, keys, values
//
// Races: see ElementStorage. The number of an entry is compared with how many are in use in the storage
// that is read, and with the capacity of the index that is written.

/// What a dictionary refers to.
@frozen @usableFromInline package struct DictionaryObject<Key: Hashable, Value>: HeapObject {
  /// The words of a DictionaryIndex. Invariant: byte 0 of the object.
  @usableFromInline var index: HeapArray<UInt32>
  /// Invariant: byte 8 of the object.
  @usableFromInline var entries: ElementStorage<DictionaryEntry<Key, Value>>
  /// Invariant: byte 16 of the object.
  @usableFromInline var count = 0
  /// Counts what adds and removes entries. Invariant: byte 24 of the object.
  @usableFromInline var changes = 0

  @inlinable init(
    _ index: DictionaryIndex, _ entries: ElementStorage<DictionaryEntry<Key, Value>>
  ) {
    self.index = index.words
    self.entries = entries
  }
}

/// A key and its value, as they lie in the heap.
@frozen @usableFromInline package struct DictionaryEntry<Key: Hashable, Value> {
  @usableFromInline var key: Key
  @usableFromInline var value: Value
}

/// A dictionary in a managed heap, passed by reference and compared by identity.
///
/// It is valid where a ``HeapRef`` is, and may be a field, an element, or in a ``HeapRoot``. Keys and values
/// may be whatever fields of a ``HeapObject`` may be, but for what ARC manages; keys are `Hashable`: an `Int`, a ``HeapString`` (by
/// content), a ``HeapRef`` (by identity), a struct of such. Hashes are seeded as those of the standard
/// library: nobody can choose keys that collide.
///
/// ```swift
/// let symbols = HeapDictionary<HeapString, HeapRef<Symbol>>(in: mutator)
/// symbols.updateValue(symbol, forKey: name, in: mutator)
/// if let found = symbols["lambda"] { print(found.arity) }
/// for (name, symbol) in symbols { print(name, symbol.arity) }
/// ```
///
/// A loop goes over the entries in the order in which their keys were added. A dictionary must not gain
/// or lose keys while a loop goes over it: the loop's next step stops the program. Giving a key another
/// value is allowed. A dictionary that is changed by one thread while another uses it, without a lock,
/// may lose entries or stop the program, and damages nothing else.
///
/// A key must not change its hash, or what it equals, while it is in a dictionary.
@safe @frozen
public struct HeapDictionary<Key: Hashable, Value>: _HeapNonNullReference {
  @usableFromInline package typealias Object = DictionaryObject<Key, Value>
  @usableFromInline package typealias Entries = ElementStorage<DictionaryEntry<Key, Value>>

  @usableFromInline package let object: HeapRef<DictionaryObject<Key, Value>>

  @inlinable init(_ object: HeapRef<DictionaryObject<Key, Value>>) { self.object = object }

  /// The dictionary's object's first address.
  @inlinable package var _raw: UnsafeMutableRawPointer { unsafe object._raw }

  // MARK: - Making one

  /// Makes an empty dictionary.
  ///
  /// Without memory, or for keys or values that cannot be kept in the heap, the program stops with a
  /// message. A safepoint.
  ///
  /// - Parameter mutator: the calling thread's mutator.
  @inlinable public init(in mutator: HeapMutator) { self.init(capacity: 0, in: mutator) }

  /// Makes an empty dictionary that has room for some entries.
  ///
  /// - Parameters:
  ///   - capacity: how many keys can be added before the dictionary has to grow.
  ///   - mutator: the calling thread's mutator.
  /// - Precondition: `capacity` is not negative.
  @inlinable public init(capacity: Int, in mutator: HeapMutator) {
    self = HeapMutator.unwrap { () throws(HeapError) in
      try HeapDictionary.tryMake(capacity: capacity, in: mutator)
    }
  }

  /// Makes an empty dictionary, or throws when there is no memory for it, or when its keys or values
  /// cannot be kept in the heap.
  ///
  /// - Parameters:
  ///   - capacity: how many keys can be added before the dictionary has to grow.
  ///   - mutator: the calling thread's mutator.
  /// - Throws: ``HeapError/outOfMemory(requested:limit:)`` or ``HeapError/unsupportedType(_:)``.
  /// - Precondition: `capacity` is not negative.
  @inlinable public static func tryMake(
    capacity: Int = 0, in mutator: HeapMutator
  ) throws(HeapError) -> HeapDictionary {
    // First the entries: they know what is wrong with a type.
    let entries = try mutator.tryAllocateStorage(
      of: DictionaryEntry<Key, Value>.self, capacity: capacity)
    let index = try DictionaryIndex.tryMake(toHold: capacity, in: mutator)
    return HeapDictionary(try mutator.tryAllocate(DictionaryObject(index, entries)))
  }

  // MARK: - The object

  @inlinable var indexSlot: HeapSlot<HeapArray<UInt32>> {
    @inline(__always) get { unsafe HeapSlot(object._raw) }
  }

  @inlinable var entriesSlot: HeapSlot<Entries> {
    @inline(__always) get { unsafe HeapSlot(object._raw + 8) }
  }

  @inlinable var index: DictionaryIndex {
    @inline(__always) get { DictionaryIndex(indexSlot.load()) }
  }

  @inlinable var entries: Entries {
    @inline(__always) get { entriesSlot.load() }
  }

  /// The number of keys.
  @inlinable public internal(set) var count: Int {
    @inline(__always) get { unsafe object._raw.load(fromByteOffset: 16, as: Int.self) }
    @inline(__always) nonmutating set {
      unsafe object._raw.storeBytes(of: newValue, toByteOffset: 16, as: Int.self)
    }
  }

  @inlinable var changes: Int {
    @inline(__always) get { unsafe object._raw.load(fromByteOffset: 24, as: Int.self) }
    @inline(__always) nonmutating set {
      unsafe object._raw.storeBytes(of: newValue, toByteOffset: 24, as: Int.self)
    }
  }

  // MARK: - Looking

  /// An entry that was found.
  @frozen @usableFromInline struct Found {
    @usableFromInline let index: DictionaryIndex
    @usableFromInline let entries: Entries
    /// Where the entry is in the index.
    @usableFromInline let place: UInt32
    /// Below what was in use of `entries` when it was found.
    @usableFromInline let entry: Int

    @inlinable @inline(__always)
    init(_ index: DictionaryIndex, _ entries: Entries, _ place: UInt32, _ entry: Int) {
      self.index = index
      self.entries = entries
      self.place = place
      self.entry = entry
    }

    @inlinable var value: HeapSlot<Value> {
      @inline(__always) get { entries.value(entry) }
    }
  }

  /// The bits of a key's hash that the index has.
  @inlinable @inline(__always)
  static func hash(of key: some Hashable) -> UInt32 {
    // As the standard library's dictionary asks: one call for the common types.
    UInt32(truncatingIfNeeded: key._rawHashValue(seed: 0))
  }

  /// The entry of the key for which `isKey` is true.
  ///
  /// - Parameter hash: of that key.
  @inlinable @inline(__always)
  func find(_ hash: UInt32, _ isKey: (Key) -> Bool) -> Found? {
    let (index, entries) = (self.index, self.entries)
    let mask = index.mask
    var place = hash & mask
    var left = mask
    while true {
      let word = unsafe index.place(place).pointee
      if word == 0 { return nil }
      if DictionaryIndex.matches(word, hash, mask) {
        let entry = DictionaryIndex.entry(word, mask)
        // False only if another thread changes the dictionary.
        if entry < entries.used, isKey(entries.key(entry).load()) {
          return Found(index, entries, place, entry)
        }
      }
      if left == 0 { ContainerFailure.damaged("HeapDictionary") }
      left &-= 1
      place = (place &+ 1) & mask
    }
  }

  /// The value of a key, or nil if the key is not there.
  ///
  /// To add a key or to change its value, use ``updateValue(_:forKey:in:)``: it may have to allocate.
  ///
  /// - Complexity: O(1) on average, beside the hash and a comparison of the key.
  @inlinable public subscript(key: Key) -> Value? {
    find(Self.hash(of: key)) { $0 == key }?.value.load()
  }

  /// The value of a key, or another one if the key is not there.
  ///
  /// - Complexity: as above.
  @inlinable public subscript(key: Key, default other: @autoclosure () -> Value) -> Value {
    self[key] ?? other()
  }

  // MARK: - Updating

  /// Gives a key a value. The key is added if it is not there.
  ///
  /// Without memory the program stops with a message. A safepoint if the dictionary has to grow.
  ///
  /// - Parameters:
  ///   - value: the new value.
  ///   - key: the key. If an equal one is there, that one stays.
  ///   - mutator: the calling thread's mutator.
  /// - Returns: the key's value until now, or nil if the key is new.
  /// - Complexity: O(1) on average over many calls, beside the hash and a comparison of the key.
  @discardableResult @inlinable
  public func updateValue(
    _ value: Value, forKey key: Key, in mutator: HeapMutator
  ) -> Value? {
    let hash = Self.hash(of: key)
    if let found = find(hash, { $0 == key }) { return Self.replace(found, value) }
    while !hasRoom { grow(mutator) }
    insert(key, value, hash)
    return nil
  }

  /// Gives a key a value, or throws when there is no memory for a new key; then the dictionary is as it
  /// was.
  ///
  /// - Returns: the key's value until now, or nil if the key is new.
  /// - Throws: ``HeapError/outOfMemory(requested:limit:)``.
  @discardableResult @inlinable
  public func tryUpdateValue(
    _ value: Value, forKey key: Key, in mutator: HeapMutator
  ) throws(HeapError) -> Value? {
    let hash = Self.hash(of: key)
    if let found = find(hash, { $0 == key }) { return Self.replace(found, value) }
    while !hasRoom { try tryGrow(toHold: count &+ 1, mutator) }
    insert(key, value, hash)
    return nil
  }

  /// The value of a key, which is added with a new value if it is not there.
  ///
  /// ```swift
  /// let symbol = symbols.value(forKey: name, in: mutator) {
  ///   mutator.allocate(Symbol(name: name))
  /// }
  /// ```
  ///
  /// - Parameters:
  ///   - key: the key.
  ///   - mutator: the calling thread's mutator.
  ///   - make: makes the value of a new key. It may use the dictionary.
  /// - Complexity: O(1) on average over many calls, beside the hash and a comparison of the key.
  @inlinable
  public func value<Failure: Error>(
    forKey key: Key, in mutator: HeapMutator, orInsert make: () throws(Failure) -> Value
  ) throws(Failure) -> Value {
    let hash = Self.hash(of: key)
    if let found = find(hash, { $0 == key }) { return found.value.load() }
    let before = changes
    let value = try make()
    // The value's maker may have added the key itself.
    if changes != before, let found = find(hash, { $0 == key }) { return found.value.load() }
    while !hasRoom { grow(mutator) }
    insert(key, value, hash)
    return value
  }

  @inlinable @inline(__always)
  static func replace(_ found: Found, _ value: Value) -> Value {
    let old = found.value.load()
    found.value.store(value)
    return old
  }

  /// Whether an entry can be added.
  @inlinable var hasRoom: Bool {
    @inline(__always) get {
      let entries = self.entries
      let used = entries.used
      return used < index.capacity && used < entries.capacity
    }
  }

  /// Adds a key that is not there.
  @inlinable @inline(__always)
  func insert(_ key: Key, _ value: Value, _ hash: UInt32) {
    let (index, entries) = (self.index, self.entries)
    let used = entries.used
    // There was room a moment ago.
    guard used < index.capacity, used < entries.capacity else {
      ContainerFailure.damaged("HeapDictionary")
    }
    entries.key(used).store(key)
    entries.value(used).store(value)
    entries.used = used &+ 1
    index.insert(hash, used)
    count &+= 1
    changes &+= 1
  }

  // MARK: - Removing

  /// Removes a key and its value.
  ///
  /// - Parameter key: the key.
  /// - Returns: its value, or nil if the key was not there.
  /// - Complexity: O(1) on average, beside the hash and a comparison of the key.
  @discardableResult @inlinable
  public func removeValue(forKey key: Key) -> Value? {
    guard let found = find(Self.hash(of: key), { $0 == key }) else { return nil }
    let value = found.value.load()
    remove(found)
    return value
  }

  @inlinable @inline(__always)
  func remove(_ found: Found) {
    let (index, entries, entry) = (found.index, found.entries, found.entry)
    index.remove(found.place, entry)
    entries.key(entry).clear()
    entries.value(entry).clear()
    count &-= 1
    changes &+= 1
    if entry &+ 1 == entries.used { dropGaps(index, entries) }
  }

  /// Gives up the entries at the end that are not there.
  @inlinable @inline(never)
  func dropGaps(_ index: DictionaryIndex, _ entries: Entries) {
    var used = entries.used
    while used > 0, !index.has(used &- 1) { used &-= 1 }
    entries.used = used
  }

  /// Removes all keys and values. The dictionary keeps its capacity.
  ///
  /// - Complexity: O(capacity).
  @inlinable @inline(never)
  public func removeAll() {
    let (index, entries) = (self.index, self.entries)
    let used = entries.used
    changes &+= 1
    count = 0
    entries.used = 0
    index.removeAll()
    unsafe ElementMove.clearInPieces(
      DictionaryEntry<Key, Value>.self, at: entries.address(of: 0),
      stride: MemoryLayout<DictionaryEntry<Key, Value>>.stride, count: used)
    entries.keepAlive()
  }

  /// Removes the keys and values for which a condition holds.
  ///
  /// If the condition throws, what it has named is removed, and the rest stays.
  ///
  /// - Parameter shouldBeRemoved: the condition, which must not add or remove keys.
  /// - Complexity: O(capacity).
  @inlinable
  public func removeAll<Failure: Error>(
    where shouldBeRemoved: (Element) throws(Failure) -> Bool
  ) throws(Failure) {
    var iterator = makeIterator()
    while let entry = iterator.nextEntry() {
      let (key, value) = iterator.pair(entry)
      guard try shouldBeRemoved((key, value)) else { continue }
      iterator.requireUnchanged()
      // By its number: the key may be no more equal to itself than a NaN is.
      guard let place = iterator.index.place(of: entry) else {
        ContainerFailure.damaged("HeapDictionary")
      }
      remove(Found(iterator.index, iterator.entries, place, entry))
      iterator.expectChange()
    }
  }
}

extension ElementStorage {
  /// The place of an entry's key.
  @inlinable @inline(__always)
  func key<Key: Hashable, Value>(_ entry: Int) -> HeapSlot<Key>
  where Element == DictionaryEntry<Key, Value> {
    unsafe HeapSlot(address(of: entry))
  }

  /// The place of an entry's value.
  @inlinable @inline(__always)
  func value<Key: Hashable, Value>(_ entry: Int) -> HeapSlot<Value>
  where Element == DictionaryEntry<Key, Value> {
    let alignment = MemoryLayout<Value>.alignment
    let offset = (MemoryLayout<Key>.size &+ alignment &- 1) & ~(alignment &- 1)
    return unsafe HeapSlot(address(of: entry) + offset)
  }
}

extension HeapDictionary where Key == HeapString {
  /// The value of the key with a text, or nil if there is none.
  ///
  /// Looks with the bytes of a Swift string, and allocates nothing.
  ///
  /// - Complexity: O(length of `text`) on average.
  @inlinable public subscript(text: some StringProtocol) -> Value? {
    unsafe HeapString.withUTF8(of: text) { bytes in
      let key = unsafe HeapString.Bytes(bytes)
      return find(Self.hash(of: key)) { unsafe $0.isEqual(toBytes: key.bytes) }?.value.load()
    }
  }
}

/// References belong to the threads that are attached to their heap.
@available(
  *, unavailable,
  message: "a reference is valid inside withMutator only, on that thread: hand a HeapRoot to others"
)
extension HeapDictionary: Sendable {}

extension HeapDictionary: Hashable {
  /// Whether both are the same dictionary.
  @inlinable public static func == (a: HeapDictionary, b: HeapDictionary) -> Bool {
    a.object == b.object
  }

  /// Hashes the identity of the dictionary, not its entries.
  @inlinable public func hash(into hasher: inout Hasher) { hasher.combine(object) }
}

extension HeapDictionary: CustomStringConvertible, CustomDebugStringConvertible {
  /// The keys and values, as a dictionary of the standard library shows them.
  public var description: String {
    isEmpty ? "[:]" : "[" + map { "\($0.key): \($0.value)" }.joined(separator: ", ") + "]"
  }

  /// The type, the number of keys and the address.
  public var debugDescription: String {
    "HeapDictionary<\(Key.self), \(Value.self)>(\(count) keys, 0x"
      + String(UInt(bitPattern: unsafe _raw), radix: 16) + ")"
  }
}
