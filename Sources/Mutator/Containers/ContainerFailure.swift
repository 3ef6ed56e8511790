// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// What a program is told that uses a container wrongly.
//
// Each of these ends the program. A message says what was done, and what to do instead. They are here, and
// not where they are called, so that what is inlined into a program is one call.

internal import Heap

/// The ends of programs that use a container wrongly.
@usableFromInline enum ContainerFailure {
  @usableFromInline @inline(never)
  static func indexOutOfRange(_ index: Int, count: Int) -> Never {
    broken("Index out of range: index \(index) in a list of \(count) elements")
  }

  @usableFromInline @inline(never)
  static func empty() -> Never { broken("an element was removed from an empty list") }

  @usableFromInline @inline(never)
  static func changedInLoop(_ container: StaticString) -> Never {
    broken(
      "a \(container) was changed while a loop went over it: what was added, removed or moved since "
        + "the loop began would make it miss elements or see some twice; change it after the loop, or "
        + "collect what to change first")
  }

  @usableFromInline @inline(never)
  static func noEntry() -> Never {
    broken(
      "a position in a HeapDictionary was used that is none of a pair: it is behind the last one, or "
        + "a key was added or removed since")
  }

  @usableFromInline @inline(never)
  static func damaged(_ container: StaticString) -> Never {
    broken(
      "a \(container) contradicts itself: two threads have changed it at the same time; use a lock, or "
        + "a container for each thread")
  }
}
