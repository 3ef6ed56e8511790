// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The README's example is a program of this package (Tests/ReadmeExample), so it compiles; this
// test holds the two together.

import Foundation
import Testing

@Suite struct ReadmeTests {
  @Test("the example in the README is the program that is built, word for word")
  func example() throws {
    let tests = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    let readme = try String(
      contentsOf: tests.deletingLastPathComponent().appending(path: "README.md"), encoding: .utf8)
    let program = try String(
      contentsOf: tests.appending(path: "ReadmeExample/main.swift"), encoding: .utf8)
    let block = try #require(readme.split(separator: "```swift\n").dropFirst().first)
    let example = try #require(block.split(separator: "```\n").first)
    #expect(example == program)
    #expect(example.split(separator: "\n").count <= 24)
  }
}
