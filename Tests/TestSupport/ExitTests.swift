// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// What the process of an exit test said. That it ended is not enough: it shall have ended for the
// right reason. The test asks for it with `observing: [\.standardErrorContent]`.

package import Testing

extension ExitTest.Result {
  /// What the process wrote to standard error.
  package var message: String { String(decoding: standardErrorContent, as: UTF8.self) }
}

extension ExitTest.Result? {
  /// Whether the process wrote these words to standard error.
  package func said(_ words: String) -> Bool { self?.message.contains(words) ?? false }
}
