// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// What the heap says on standard error: a line under its name, in one write, so that lines of
// several heaps and of the program do not mix.

internal import Glibc

/// Writes lines under a heap's name.
struct Reporter: Sendable {
  let name: String

  init(name: String) { self.name = name.isEmpty ? "heap" : name }

  /// Writes a line.
  func report(_ message: String) {
    let line = "\(name): \(message)\n"
    unsafe line.withCString { text in
      _ = unsafe write(2, text, strlen(text))
    }
  }
}
