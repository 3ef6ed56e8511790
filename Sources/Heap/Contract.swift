// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// What happens when a rule is broken.
//
// A caller's mistake stops the program and says what to do about it, in release builds too,
// where the standard library's `precondition` is silent. So do the few broken invariants of
// our own that are checked always because going on would corrupt memory. Everything else that
// is our own is an `assert` or is in `checkInvariants`.

/// Stops the program with a message unless `condition` holds. In every build.
@inlinable @inline(__always)
package func require(_ condition: Bool, _ message: @autoclosure () -> String) {
  guard condition else { broken(message()) }
}

/// Stops the program with a message. In every build.
@inline(never) @usableFromInline
package func broken(_ message: String) -> Never { fatalError(message) }
