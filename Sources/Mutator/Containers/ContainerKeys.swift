// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Containers and references of any type.
//
// The heap knows a list by the type of its object, which no program can name. Here an AnyHeapRef and a
// HeapValue learn to ask for the list instead, and reports learn to say HeapList<Int>.
//
// References as keys are hashed in one step. The standard library does the same for its integers; for
// other types it makes a hasher, feeds it and asks it, which takes twice the time.

extension HeapList: _HeapTypedReference {
  /// The key of lists of such elements.
  @inlinable public static var _typeKey: UInt { TypeKey.object(ListObject<Element>.self) }
}

extension HeapDictionary: _HeapTypedReference {
  /// The key of dictionaries of such keys and values.
  @inlinable public static var _typeKey: UInt { TypeKey.object(DictionaryObject<Key, Value>.self) }
}

// MARK: - Names

/// The object of a container, seen without the types of what is in it.
protocol ContainerObject {
  /// The container, as a program names it.
  static var container: Any.Type { get }
}

extension ListObject: ContainerObject {
  static var container: Any.Type { HeapList<Element>.self }
}

extension DictionaryObject: ContainerObject {
  static var container: Any.Type { HeapDictionary<Key, Value>.self }
}

// MARK: - Hashes

extension HeapList {
  /// The same as `hash(into:)` in one step, for dictionaries and sets.
  @inlinable public func _rawHashValue(seed: Int) -> Int { object._rawHashValue(seed: seed) }
}

extension HeapDictionary {
  /// The same as `hash(into:)` in one step, for dictionaries and sets.
  @inlinable public func _rawHashValue(seed: Int) -> Int { object._rawHashValue(seed: seed) }
}

extension AnyHeapRef {
  /// The same as `hash(into:)` in one step, for dictionaries and sets.
  @inlinable public func _rawHashValue(seed: Int) -> Int {
    UInt(bitPattern: unsafe _raw)._rawHashValue(seed: seed)
  }
}

extension HeapValue {
  /// The same as `hash(into:)` in one step, for dictionaries and sets.
  @inlinable public func _rawHashValue(seed: Int) -> Int { bits._rawHashValue(seed: seed) }
}
