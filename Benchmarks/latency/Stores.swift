// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Where the window of live messages is kept: a ring, or a hash table.
//
// Both are arrays in the heap. A Swift Array or Dictionary would not do, since the collector does
// not look into them: a reference that is nowhere else would be lost. What does live in a Swift
// value is the store itself, a struct of one or two references on the stack.
//
// The table is what the programs in other languages take from their libraries, made for this
// purpose: integer keys, a size fixed in advance (`capacity` entries fill at most two thirds of it),
// linear probing, and removal that leaves no tombstones. Removing an entry closes the gap: of the
// entries behind it, up to the next free slot, those move forward that would not be found any more.
//
//     keys     [ 17 |  4 |  ? | … ]     HeapArray<Int>, not looked into by the collector
//     values   [  • |  • | nil| … ]     HeapArray<Value?>, nil marks a free slot
//
// Invariant: from the home slot of a key to the slot where it is, no slot is free.

internal import Mutator

/// Keeps messages by number.
protocol MessageStore<Message> {
  associatedtype Message

  /// Adds a message. At most as many are present at once as the store was made for.
  func put(_ message: Message, _ id: Int)

  /// Takes a message out, which has to be there.
  func remove(_ id: Int) -> Message
}

// MARK: - Ring

/// A slot for each message of the window, reused in turn.
struct Ring<Message>: MessageStore {
  private let slots: HeapArray<Message?>

  init(capacity: Int, in mutator: HeapMutator) {
    slots = mutator.allocateArray(of: Message?.self, count: capacity, repeating: nil)
  }

  func put(_ message: Message, _ id: Int) {
    slots[id % slots.count] = message
  }

  /// The slot is not cleared: the next message takes it at once.
  func remove(_ id: Int) -> Message {
    guard let message = slots[id % slots.count] else {
      preconditionFailure("message \(id) is not in the ring")
    }
    return message
  }
}

// MARK: - Table

/// An open-addressing hash table of fixed size.
struct Table<Message>: MessageStore {
  private let keys: HeapArray<Int>
  private let values: HeapArray<Message?>
  /// The number of slots, a power of two, less one.
  private let mask: Int
  /// What is left of a 64-bit hash after shifting is a slot.
  private let shift: Int

  init(capacity: Int, in mutator: HeapMutator) {
    var bits = 1
    while (1 << bits) * 2 / 3 < capacity { bits += 1 }
    mask = (1 << bits) - 1
    shift = 64 - bits
    keys = mutator.allocateArray(of: Int.self, count: 1 << bits, repeating: 0)
    values = mutator.allocateArray(of: Message?.self, count: 1 << bits, repeating: nil)
  }

  /// Fibonacci hashing: consecutive keys are spread evenly.
  private func home(of key: Int) -> Int {
    Int(truncatingIfNeeded: (UInt64(bitPattern: Int64(key)) &* 0x9E37_79B9_7F4A_7C15) >> shift)
  }

  func put(_ message: Message, _ id: Int) {
    var slot = home(of: id)
    while values[slot] != nil, keys[slot] != id { slot = (slot + 1) & mask }
    keys[slot] = id
    values[slot] = message
  }

  func remove(_ id: Int) -> Message {
    var slot = home(of: id)
    while let message = values[slot] {
      if keys[slot] == id {
        closeGap(at: slot)
        return message
      }
      slot = (slot + 1) & mask
    }
    preconditionFailure("message \(id) is not in the table")
  }

  /// Empties a slot and moves entries behind it forward where that keeps the invariant.
  private func closeGap(at removed: Int) {
    var gap = removed
    var slot = (gap + 1) & mask
    while let follower = values[slot] {
      let key = keys[slot]
      // How far the follower is from its home, and how far from the gap.
      if (slot - home(of: key)) & mask >= (slot - gap) & mask {
        keys[gap] = key
        values[gap] = follower
        gap = slot
      }
      slot = (slot + 1) & mask
    }
    values[gap] = nil
  }
}
