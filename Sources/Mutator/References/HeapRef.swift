// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// A reference to an object in a managed heap.
//
// One word: the object's first address, never zero, so that an optional reference is one word
// too. A reference is not counted and copying it costs nothing. It keeps its object alive as
// long as it is somewhere where the collector looks: in a local, a parameter or a temporary of
// an attached thread, or in an object. Everywhere else (a Swift array, a class instance, a
// global, an escaping closure) it is a number, and a `HeapRoot` is needed.
//
// Fields read and write like properties:
//
//     node.left                     HeapRef+Fields.swift      a load
//     node.left = other             HeapRef+Fields.swift      barrier test and a store
//     node[\.edges, 2] = other      HeapRef+Elements.swift    one element of an inline array
//     node.load(\.left, …)          HeapRef+Atomics.swift     with a memory order
//     node.pointee                  here                      the whole struct
//
// A thread that reads an object while another one writes it sees old or new words, each whole. That is
// a program's own affair, as it is in Go. A field that ARC manages is more than its words: there, a
// read beside a write needs a lock (OwnedStore).
//
// None of this contains a safepoint, but for a store into a field that ARC manages, which may run a
// `deinit`: between two lines of a program that call nothing, no collection takes place.
//
// Overview: Documentation/Roots.md

/// A reference to an object in a managed heap, compared by identity.
///
/// Valid on a thread that is attached to the object's heap, inside `withMutator`; it is not
/// `Sendable`. It keeps its object alive while it is a local, a parameter, or a field of an object
/// that lives. Everywhere else (a Swift array, a class instance, an escaping closure, a task) keep
/// a ``HeapRoot``: the collector does not look there. `Documentation/Roots.md` lists all such
/// places, with what to write instead.
///
/// The fields of the object are members of the reference:
///
/// ```swift
/// node.left = other         // a store, with the write barrier
/// node.key += 1
/// node.pointee.bump()       // a method of the struct
/// ```
///
/// A field whose name is one of the reference's own members (`pointee`, `load`, `store`, `exchange`,
/// `compareExchange`, `description`, `debugDescription`, `hashValue`) is hidden behind it: reach it
/// through ``pointee``.
@dynamicMemberLookup @safe @frozen
public struct HeapRef<Object: HeapObject>: _HeapNonNullReference {
  /// The object's first address.
  @usableFromInline package let _raw: UnsafeMutableRawPointer

  /// A reference to the object at an address, which the caller has initialised.
  @inlinable @inline(__always)
  package init(_raw raw: UnsafeMutableRawPointer) { unsafe _raw = raw }

  /// The object as a struct.
  ///
  /// Reading copies all of it. Writing replaces all of it, with the write barrier for every
  /// reference inside. Methods of the struct are called through it, `node.pointee.bump()`; a
  /// mutating one reads the object, changes the copy and writes all of it back.
  ///
  /// - Complexity: O(size of the object).
  @inlinable public var pointee: Object {
    @inline(__always) get { unsafe HeapSlot<Object>(_raw).load() }
    @inline(__always) nonmutating set { unsafe HeapSlot<Object>(_raw).store(newValue) }
  }
}

/// References belong to the threads that are attached to their heap.
@available(
  *, unavailable,
  message: "a reference is valid inside withMutator only, on that thread: hand a HeapRoot to others"
)
extension HeapRef: Sendable {}

extension HeapRef: Hashable {
  /// Whether both are references to the same object.
  @inlinable public static func == (a: HeapRef, b: HeapRef) -> Bool {
    unsafe a._raw == b._raw
  }

  /// Hashes the identity of the object.
  ///
  /// Objects do not move, so it lasts as long as they do.
  @inlinable public func hash(into hasher: inout Hasher) {
    hasher.combine(UInt(bitPattern: unsafe _raw))
  }

  /// The same in one step, for dictionaries and sets.
  @inlinable public func _rawHashValue(seed: Int) -> Int {
    UInt(bitPattern: unsafe _raw)._rawHashValue(seed: seed)
  }
}

extension HeapRef: CustomStringConvertible, CustomDebugStringConvertible {
  /// The type and the address: `HeapRef<Node>(0x7f3a5c000040)`.
  public var description: String {
    "HeapRef<\(Object.self)>(0x" + String(UInt(bitPattern: unsafe _raw), radix: 16) + ")"
  }

  /// The same as `description`: objects may be linked in circles, so no fields are shown.
  public var debugDescription: String { description }
}
