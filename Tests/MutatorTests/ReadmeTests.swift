// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The README's examples are programs of this package (Tests/ReadmeExample, Tests/ReadmeValues), and
// the listings of a chapter are parts of one (Examples/lisp), so they compile; these tests hold them
// together.

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

  @Test("a listing of the chapter on interpreters is a part of the program, word for word")
  func interpreter() throws {
    let package = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
    let chapter = try String(
      contentsOf: package.appending(path: "Documentation/EmbeddingAnInterpreter.md"),
      encoding: .utf8)
    let folder = package.appending(path: "Examples/lisp")
    let sources = try FileManager.default.contentsOfDirectory(atPath: folder.path)
      .filter { $0.hasSuffix(".swift") }
      .map { try String(contentsOf: folder.appending(path: $0), encoding: .utf8) }
    let listings = chapter.components(separatedBy: "```swift\n").dropFirst()
      .map { $0.components(separatedBy: "```\n")[0] }
    #expect(listings.count >= 10 && sources.count >= 6)
    for listing in listings {
      #expect(sources.contains { $0.contains(listing) }, "not in Examples/lisp:\n\(listing)")
    }
  }
}
