// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Fields of an object, as members of the reference to it.
//
// `node.left = other` is `node[dynamicMember: \Node.left] = other`, and the key path is a
// literal at the place of use. Inlined there, the compiler turns its offset into a constant
// and the key path itself disappears; what is left is HeapSlot's store. The tests of the
// machine code in Scripts/ hold it to that.
//
// Two subscripts, and no more on purpose: each further overload would be tried for every
// member in every expression. The kind of a store is decided by the value's type, inside.
//
//     var field       WritableKeyPath   offset known    load, or HeapSlot.store
//     var computed    WritableKeyPath   no offset       read all, set, store all
//     let, get-only   KeyPath                           load
//
// A field inside a nested struct (`node.inner.link = other`) is written as Swift writes into
// any computed property: `inner` is read, changed, and stored whole, with the barrier for
// each reference in it. So two threads that write different fields of one nested struct at
// the same time race, and two that write different fields of the object do not.

extension HeapRef {
  /// Reads a field or a computed property of the object.
  @inlinable public subscript<Value>(dynamicMember keyPath: KeyPath<Object, Value>) -> Value {
    @inline(__always) get { read(keyPath) }
  }

  /// Reads or writes a field or a computed property of the object.
  ///
  /// Writing runs the write barrier for every reference in the value. Writing a part of a field
  /// (`node.inner.link = other`, `node.edges[2] = other` with an `InlineArray`) reads the whole
  /// field and writes the whole field back; write `node[\.edges, 2] = other` for one element.
  /// Writing a computed property does the same with the whole object.
  @inlinable
  public subscript<Value>(
    dynamicMember keyPath: WritableKeyPath<Object, Value>
  ) -> Value {
    @inline(__always) get { read(keyPath) }
    @inline(__always) nonmutating set {
      if let offset = MemoryLayout<Object>.offset(of: keyPath) {
        unsafe HeapSlot<Value>(_raw + offset).store(newValue)
      } else {
        storeComputed(newValue, keyPath)
      }
    }
  }

  /// Reads a field or a computed property of the object.
  @inlinable @inline(__always)
  func read<Value>(_ keyPath: KeyPath<Object, Value>) -> Value {
    // Unoptimised, the line below copies the whole object, and counts what ARC manages in it. Another
    // thread may be storing one of those fields, while nobody stores the one that is read.
    if !_isPOD(Object.self), let offset = MemoryLayout<Object>.offset(of: keyPath) {
      return unsafe HeapSlot<Value>(_raw + offset).load()
    }
    return unsafe _raw.assumingMemoryBound(to: Object.self).pointee[keyPath: keyPath]
  }

  // MARK: - Slow path

  /// Sets a property that is not stored.
  @usableFromInline @inline(never)
  func storeComputed<Value>(_ value: Value, _ keyPath: WritableKeyPath<Object, Value>) {
    var object = pointee
    object[keyPath: keyPath] = value
    pointee = object
  }
}
