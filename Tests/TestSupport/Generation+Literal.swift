// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Most tests need some generation, and it does not matter that it has two numbers.

package import Heap

extension Generation: ExpressibleByIntegerLiteral {
  /// The generation of a heap that has only had full cycles.
  package init(integerLiteral value: UInt32) { self.init(cycle: value, full: value) }
}
