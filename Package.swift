// swift-tools-version: 6.2
// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

import PackageDescription

// One set of rules for every target: the language of today, every use of unsafe constructs
// spelled out, and no warning left standing. No unsafe flags: the package can be depended on.
let strict: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .strictMemorySafety(),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .treatAllWarnings(as: .error),
]

/// A program that uses the heap as any client would: `Examples/<name>` or `Benchmarks/<name>`.
func program(_ name: String, in folder: String) -> Target {
  .executableTarget(
    name: name,
    // growth asks for minor collections, which no client can.
    dependencies: ["Mutator", "ProgramSupport"] + (name == "growth" ? ["Collector"] : []),
    path: "\(folder)/\(name)",
    exclude: ["json-tree": ["compare.py"], "lisp": ["programs"]][name] ?? [],
    swiftSettings: strict)
}

let examples = ["binary-trees", "gcbench", "lru-cache", "json-tree", "lisp"]
let benchmarks = [
  "alloc-micro", "mark-rate", "threads", "graph-mutate", "latency", "growth", "containers",
]

let package = Package(
  name: "swift-managed-heap",
  products: [.library(name: "ManagedHeap", targets: ["Mutator"])]
    + (examples + benchmarks).map { .executable(name: $0, targets: [$0]) },
  targets: [
    .target(name: "CHeapShims"),
    .target(name: "Heap", dependencies: ["CHeapShims"], swiftSettings: strict),
    .target(name: "Collector", dependencies: ["Heap", "CHeapShims"], swiftSettings: strict),
    .target(
      name: "Mutator", dependencies: ["Collector", "Heap", "CHeapShims"], swiftSettings: strict),
    .target(
      name: "ProgramSupport", dependencies: ["Mutator"], path: "Examples/Support",
      swiftSettings: strict),
    // The README's examples, word for word (ReadmeTests compares them).
    .executableTarget(
      name: "readme-example", dependencies: ["Mutator"], path: "Tests/ReadmeExample",
      swiftSettings: strict),
    .executableTarget(
      name: "readme-values", dependencies: ["Mutator"], path: "Tests/ReadmeValues",
      swiftSettings: strict),
    // What Scripts/check-fast-path.sh disassembles.
    .executableTarget(
      name: "fast-path-probe", dependencies: ["Mutator"], path: "Tests/FastPathProbe",
      swiftSettings: strict),
    // Threads and random numbers for tests.
    .target(
      name: "TestSupport", dependencies: ["Heap", "CHeapShims"], path: "Tests/TestSupport",
      swiftSettings: strict),
    .testTarget(
      name: "HeapTests", dependencies: ["Heap", "CHeapShims", "TestSupport"],
      swiftSettings: strict),
    .testTarget(
      // The Mutator: it reads the settings of heaps from the environment.
      name: "CollectorTests",
      dependencies: ["Mutator", "Collector", "Heap", "CHeapShims", "TestSupport"],
      swiftSettings: strict),
    .testTarget(
      name: "MutatorTests",
      dependencies: ["Mutator", "Collector", "Heap", "CHeapShims", "TestSupport"],
      swiftSettings: strict),
  ]
    + examples.map { program($0, in: "Examples") }
    + benchmarks.map { program($0, in: "Benchmarks") }
)
