// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The README's examples are programs of this package (Tests/ReadmeExample, Tests/ReadmeValues), so
// they compile; this test holds them together.

import Foundation
import Testing

@Suite struct ReadmeTests {
  @Test(
    "an example in the README is the program that is built, word for word",
    arguments: [(0, "ReadmeExample", 24), (2, "ReadmeValues", 52)])
  func example(block number: Int, program folder: String, lines: Int) throws {
    let tests = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    let readme = try String(
      contentsOf: tests.deletingLastPathComponent().appending(path: "README.md"), encoding: .utf8)
    let program = try String(
      contentsOf: tests.appending(path: "\(folder)/main.swift"), encoding: .utf8)
    let blocks = readme.components(separatedBy: "```swift\n").dropFirst()
      .map { $0.components(separatedBy: "```\n")[0] }
    try #require(blocks.indices.contains(number))
    #expect(blocks[number] == program)
    #expect(program.split(separator: "\n").count <= lines)
  }
}
