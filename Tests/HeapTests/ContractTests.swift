// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// What a program says when it stops: the message, and the line of the one who made the mistake.

import Heap
import TestSupport
import Testing

@Suite("Broken rules")
struct ContractTests {
  @Test("a condition that does not hold stops the program at the caller's line, in every build")
  func caller() async {
    let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      requireRoundMoon()
    }
    #expect(result.said("the moon is not round"))
    #expect(result.said("HeapTests/ContractTests.swift:\(moonLine):"))
  }

  @Test("a function that checks for its own caller hands the caller's line on")
  func forwarded() async {
    let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      takeTooFew()
    }
    #expect(result.said("-1 is too few"))
    #expect(result.said("HeapTests/ContractTests.swift:\(takeLine):"))
  }

  @Test("a damaged heap recommends checked mode, unless it is on")
  func invariant() async {
    let unchecked = await #expect(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) { brokenInvariant("two and two are five", isChecked: false) }
    #expect(unchecked.said("two and two are five"))
    #expect(unchecked.said("run with HEAP_CHECK=1"))
    let checked = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      brokenInvariant("two and two are five", isChecked: true)
    }
    #expect(checked.said("two and two are five") && !checked.said("HEAP_CHECK"))
  }
}

// The mistakes, outside of the expectations: a macro's argument has lines of its own.

private let moonLine = #line + 1
private func requireRoundMoon() { require(false, "the moon is not round") }

private let takeLine = #line + 1
private func takeTooFew() { take(-1) }

private func take(_ count: Int, file: StaticString = #fileID, line: UInt = #line) {
  require(count >= 0, "\(count) is too few", file: file, line: line)
}
