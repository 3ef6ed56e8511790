// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Sanitizers take part of the address space for themselves and make everything slower. Few tests
// are about what a sanitizer changes; they ask here.

import Glibc

/// The sanitizers that the tests run under.
package enum Sanitizer {
  /// ThreadSanitizer: the system gives no addresses where they are asked for, because most of the
  /// address space is ThreadSanitizer's. Arenas of a heap do not lie side by side.
  package static let isThread = has("__tsan_init")
  /// AddressSanitizer: memory that was freed stays with the process for some time, and locals may
  /// lie in memory that was allocated for them.
  package static let isAddress = has("__asan_init")

  private static func has(_ symbol: String) -> Bool {
    unsafe dlsym(UnsafeMutableRawPointer(bitPattern: 0), symbol) != nil
  }
}
