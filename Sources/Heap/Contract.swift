// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// What happens when a rule is broken.
//
//   require           a caller's mistake, or one of our own that would corrupt memory
//   broken            the same, where there is no condition to test
//   brokenInvariant   the heap found itself damaged; the cause lies earlier
//
// All three stop the program with a message, in release builds too, where the standard library's
// `precondition` says nothing. A message says what to do about the mistake. Everything else
// that is our own is an `assert`, or is in `checkInvariants`.
//
// The message begins with a file and a line. They are the caller's: a function that checks on
// behalf of its own caller takes `file` and `line` with the same defaults and hands them on.

/// Stops the program with a message unless `condition` holds. In every build.
@inlinable @inline(__always)
package func require(
  _ condition: Bool, _ message: @autoclosure () -> String, file: StaticString = #fileID,
  line: UInt = #line
) {
  guard condition else { broken(message(), file: file, line: line) }
}

/// Stops the program with a message. In every build.
@inline(never) @usableFromInline
package func broken(
  _ message: String, file: StaticString = #fileID, line: UInt = #line
) -> Never {
  fatalError(message, file: file, line: line)
}

/// Stops the program because the heap's own state contradicts itself, and says what has
/// probably been done.
///
/// - Parameters:
///   - finding: what is wrong.
///   - isChecked: whether the heap runs in checked mode, which finds such a cause when it
///     happens. If it does not, the message recommends it.
@inline(never)
package func brokenInvariant(
  _ finding: String, isChecked: Bool, file: StaticString = #fileID, line: UInt = #line
) -> Never {
  let advice = isChecked ? "" : "; run with HEAP_CHECK=1 to find it"
  broken(
    "\(finding). A reference was probably kept where the collector does not look\(advice).",
    file: file, line: line)
}
