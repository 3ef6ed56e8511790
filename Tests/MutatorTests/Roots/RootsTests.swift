// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Documentation/Roots.md, "Where a reference may live": its programs do what it says. Each program
// that keeps a reference where the collector does not look is run in checked mode, with a
// collection at every allocation, and is stopped with a message. Each one that is right runs
// through.

import Foundation
import Mutator
import TestSupport
import Testing

/// The pairs of programs.
private enum Place: String, Codable, CaseIterable {
  case array, dictionary, variadic, classProperty, global, ownMemory, closure, nestedFunction
  case existential, any, indirectEnum, error, accessor, between

  /// The places that the collector does not look at in this build.
  static var unseen: [Place] {
    #if DEBUG
      allCases
    #else
      // An optimised build keeps the variable, and the array of the arguments, on the stack.
      allCases.filter { $0 != .nestedFunction && $0 != .variadic }
    #endif
  }

  /// Runs one of the two programs.
  func run(_ heap: ManagedHeap, isRight: Bool) {
    typealias Programs = RootsPrograms
    if case .between = self {
      return isRight ? Programs.betweenRight(heap) : Programs.between(heap)
    }
    heap.withMutator { mutator in
      switch self {
      case .array:
        isRight ? Programs.arrayRight(in: mutator) : Programs.array(in: mutator)
      case .dictionary:
        isRight ? Programs.dictionaryRight(in: mutator) : Programs.dictionary(in: mutator)
      case .variadic:
        isRight ? Programs.variadicRight(in: mutator) : Programs.variadic(in: mutator)
      case .classProperty:
        isRight
          ? Programs.classPropertyRight(.init(in: mutator), in: mutator)
          : Programs.classProperty(Escaped.instance(.init()), in: mutator)
      case .global:
        isRight ? Programs.globalRight(in: mutator) : Programs.global(in: mutator)
      case .ownMemory:
        isRight ? Programs.ownMemoryRight(in: mutator) : Programs.ownMemory(in: mutator)
      case .closure:
        isRight ? Programs.closureRight(in: mutator) : Programs.closure(in: mutator)
      case .nestedFunction:
        isRight
          ? Programs.nestedFunctionRight(in: mutator) : Programs.nestedFunction(in: mutator)
      case .existential:
        isRight ? Programs.existentialRight(in: mutator) : Programs.existential(in: mutator)
      case .any:
        isRight ? Programs.anyRight(in: mutator) : Programs.any(in: mutator)
      case .indirectEnum:
        isRight ? Programs.indirectEnumRight(in: mutator) : Programs.indirectEnum(in: mutator)
      case .error:
        isRight ? Programs.errorRight(in: mutator) : Programs.error(in: mutator)
      case .accessor:
        let window = Programs.LazyWindow(mutator)
        isRight
          ? Programs.accessorRight(window, in: mutator) : Programs.accessor(window, in: mutator)
      case .between: break
      }
    }
  }
}

/// Instances that the compiler cannot keep on the stack, where the collector would find what they
/// refer to: an optimised build does so with an instance that is used in one function only.
private enum Escaped {
  nonisolated(unsafe) private static var latest: AnyObject?

  @inline(never)
  static func instance<Instance: AnyObject>(_ instance: Instance) -> Instance {
    unsafe latest = instance
    return instance
  }
}

@Suite struct RootsTests {
  private static func heap() throws -> ManagedHeap {
    try HeapCheck.heap {
      $0.checks = .on
      $0.stress = StressOptions(collectEvery: 1)
    }
  }

  /// A stale word on the stack may keep an object alive, so a mistake may need a few turns.
  private static let turns = 50

  private func expectFound(
    _ result: ExitTest.Result?, sourceLocation: SourceLocation = #_sourceLocation
  ) {
    let message = result?.message ?? "no message"
    #expect(
      message.contains("heap check: a reference to an object that has been collected (0x"),
      sourceLocation: sourceLocation)
    #expect(message.contains("was stored into field next of a"), sourceLocation: sourceLocation)
    #expect(
      message.contains("keep a HeapRoot there (Documentation/Roots.md)"),
      sourceLocation: sourceLocation)
  }

  @Test(
    "a reference that is kept where the collector does not look is found",
    // What a sanitizer adds to a call keeps the arguments on the stack.
    arguments: Place.unseen.filter {
      $0 != .variadic || !Sanitizer.isThread && !Sanitizer.isAddress
    }
  )
  fileprivate func wrong(place: Place) async {
    let result = await #expect(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) { [place] in
      let heap = try Self.heap()
      for _ in 0..<Self.turns {
        RootsPrograms.scrub()
        place.run(heap, isRight: false)
      }
    }
    expectFound(result)
  }

  @Test("a reference that is kept in the frame of a task is found")
  func task() async {
    let result = await #expect(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) {
      let heap = try Self.heap()
      for _ in 0..<Self.turns { await RootsPrograms.task(heap) }
    }
    expectFound(result)
  }

  @Test("a reference in a variable that an async closure has captured is found")
  func asyncCapture() async {
    let result = await #expect(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) {
      let heap = try Self.heap()
      for _ in 0..<Self.turns { await RootsPrograms.asyncCapture(heap) }
    }
    expectFound(result)
  }

  @Test("the programs that are right run through", arguments: Place.allCases)
  fileprivate func right(place: Place) throws {
    let heap = try Self.heap()
    for _ in 0..<10 { place.run(heap, isRight: true) }
    unsafe RootsPrograms.latestRoot = nil
    HeapCheck.expectEmpty(heap)
  }

  @Test("the task that is right runs through")
  func taskRight() async throws {
    let heap = try Self.heap()
    for _ in 0..<10 {
      await RootsPrograms.taskRight(heap)
      await RootsPrograms.asyncCaptureRight(heap)
    }
    HeapCheck.expectEmpty(heap)
  }

  /// The lines of a text without the space around them, and without attributes of functions.
  private static func lines(_ text: some StringProtocol) -> [String] {
    text.split(separator: "\n", omittingEmptySubsequences: false)
      .map { $0.trimmingCharacters(in: .whitespaces) }
  }

  @Test("every snippet of the document is in the programs that are run, line by line")
  func snippets() throws {
    let folder = URL(filePath: #filePath).deletingLastPathComponent()
    let root = folder.appending(path: "../../..").standardized
    let programs = Self.lines(
      try String(contentsOf: folder.appending(path: "RootsPrograms.swift"), encoding: .utf8))
    let document = try String(
      contentsOf: root.appending(path: "Documentation/Roots.md"), encoding: .utf8)
    let blocks = document.components(separatedBy: "```swift\n").dropFirst()
      .map { $0.components(separatedBy: "```\n")[0] }
    #expect(blocks.count >= 2 * Place.allCases.count)
    for block in blocks {
      // An empty line stands between parts of different places.
      for part in block.components(separatedBy: "\n\n") {
        let wanted = Self.lines(part).filter { !$0.isEmpty }
        let isThere = programs.indices.contains { start in
          programs[start...].starts(with: wanted)
        }
        #expect(isThere, "not in the programs: \(part)")
      }
    }
  }
}
