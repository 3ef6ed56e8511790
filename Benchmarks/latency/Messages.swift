// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The two kinds of message, and how a message is proved to be intact.
//
//     noscan   SIZE bytes, one in 64 written with the message's number
//     linked   SIZE / 32 nodes, last one first, numbered upwards from the message's number
//
// A message of bytes costs the collector one mark. A linked one has to be followed from node to
// node, so the same number of bytes makes far more work, and work that cannot be done in parallel.
//
// A kind works on references: `HeapArray<UInt8>` and `HeapRef<Link>`. The benchmark is generic over
// the kind and compiled once for each, so there is no dispatch in its loop.

internal import Mutator
internal import ProgramSupport

protocol MessageKind {
  /// A reference to a message.
  associatedtype Message

  static func make(_ id: Int, size: Int, in mutator: HeapMutator) -> Message

  /// A value that only the intact message of this number has.
  static func probe(_ message: Message, _ id: Int, size: Int) -> Int
}

enum Bytes: MessageKind {
  static func make(_ id: Int, size: Int, in mutator: HeapMutator) -> HeapArray<UInt8> {
    let message = mutator.allocateArray(of: UInt8.self, count: size, repeating: 0)
    for offset in stride(from: 0, to: size, by: 64) {
      message[offset] = UInt8(truncatingIfNeeded: id)
    }
    return message
  }

  static func probe(_ message: HeapArray<UInt8>, _ id: Int, size: Int) -> Int {
    Int(message[id &* 64 % size])
  }
}

/// One part of a linked message.
struct Link: HeapObject {
  let next: HeapRef<Link>?
  let value: Int
}

enum Linked: MessageKind {
  /// Makes a message of two parts at least: `size` is 64 or more.
  static func make(_ id: Int, size: Int, in mutator: HeapMutator) -> HeapRef<Link> {
    var head = mutator.allocate(Link(next: nil, value: id))
    for part in 1..<(size / 32) {
      head = mutator.allocate(Link(next: head, value: id + part))
    }
    return head
  }

  static func probe(_ message: HeapRef<Link>, _ id: Int, size: Int) -> Int {
    (message.next?.value ?? 0) & thirtyBits
  }
}
