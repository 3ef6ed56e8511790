// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// What the heap says on standard error: a line under its name, in one write, so that lines of
// several heaps and of the program do not mix.

internal import Glibc

extension CollectedHeap {
  /// Writes a line.
  func report(_ message: String) {
    let line = "\(options.name.isEmpty ? "heap" : options.name): \(message)\n"
    unsafe line.withCString { text in
      _ = unsafe write(2, text, strlen(text))
    }
  }
}
