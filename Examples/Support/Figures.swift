// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// What a program found out, and how it is told.
//
// The result goes to standard output (`checksum N` for a benchmark), the figures go to standard
// error as the last line, which is one JSON object:
//
//     {"workload":…, "runtime":…, "wall_s":…, "gc_count":…, "pause_max_us":…, "pause_total_us":…,
//      "rss_peak_kb":…, "extra":{…}}
//
//     runtime         the environment variable PEER_RUNTIME, or managed-heap
//     wall_s          the workload itself, without the start of the process and without set-up
//     gc_count        collections, forced ones included
//     pause_max_us    the longest time for which one thread did the collector's work at a
//     pause_total_us  handshake, and all such times together; threads are never stopped together
//     rss_peak_kb     the most memory that was ever resident
//     extra           the workload's own numbers; `mallocs` and `gc_cpu_fraction` are in all
//
// A number that JSON cannot write (infinite, not a number) and a figure that the system does not
// tell are null.

internal import Glibc
internal import Mutator

/// Named numbers, in the order in which they were given.
public struct Figures: Sendable, ExpressibleByDictionaryLiteral {
  private(set) var members: [(name: String, value: Double)] = []

  /// No figures.
  public init() {}

  /// The figures of a literal, in its order.
  public init(dictionaryLiteral elements: (String, Double)...) {
    members = elements.map { (name: $0.0, value: $0.1) }
  }

  /// Adds a figure behind the others.
  public mutating func add(_ name: String, _ value: Double) {
    members.append((name: name, value: value))
  }
}

/// What a program hands back when it is through.
public struct Outcome: Sendable {
  /// What is printed on standard output.
  public var lines: [String]
  /// Nanoseconds that the workload took.
  public var wall: Int
  /// The workload's own figures.
  public var extra: Figures

  /// The outcome of a program with results of its own.
  public init(lines: [String], wall: Int, extra: Figures = [:]) {
    self.lines = lines
    self.wall = wall
    self.extra = extra
  }

  /// The outcome of a benchmark, which is proved by its checksum.
  public init(_ checksum: Checksum, wall: Int, extra: Figures = [:]) {
    self.init(lines: ["checksum \(checksum.value)"], wall: wall, extra: extra)
  }
}

// MARK: - The line of figures

extension Outcome {
  /// The JSON line for a workload that ran on `heap`.
  func figuresLine(workload: String, statistics: HeapStatistics) -> String {
    var all = extra
    all.add("mallocs", Double(statistics.allocatedObjects))
    all.add("gc_cpu_fraction", statistics.gcCPUFraction)
    let runtime = Environment["PEER_RUNTIME"] ?? "managed-heap"
    let members = [
      "\"workload\":\(json(workload))",
      "\"runtime\":\(json(runtime))",
      "\"wall_s\":\(json(Double(wall) / 1e9))",
      "\"gc_count\":\(statistics.cycleCount)",
      "\"pause_max_us\":\(json(microseconds(statistics.pauses.max)))",
      "\"pause_total_us\":\(json(microseconds(statistics.pauses.total)))",
      "\"rss_peak_kb\":\(ProcessUsage.peakResidentKiB.map { String($0) } ?? "null")",
      "\"extra\":{"
        + all.members.map { "\(json($0.name)):\(json($0.value))" }.joined(separator: ",") + "}",
    ]
    return "{" + members.joined(separator: ",") + "}"
  }

  private func microseconds(_ duration: Duration) -> Double {
    let (seconds, attoseconds) = duration.components
    return Double(seconds) * 1e6 + Double(attoseconds) / 1e12
  }

  /// A number as JSON: whole numbers without a fraction, as other languages write theirs.
  private func json(_ value: Double) -> String {
    guard value.isFinite else { return "null" }
    if value == value.rounded(), abs(value) < 0x1p53 { return String(Int(value)) }
    return value.description
  }

  private func json(_ text: String) -> String {
    var quoted = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"", "\\":
        quoted += "\\"
        quoted.unicodeScalars.append(scalar)
      case "\u{0}"..."\u{1F}":
        let digits = String(scalar.value, radix: 16)
        quoted += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
      default:
        quoted.unicodeScalars.append(scalar)
      }
    }
    return quoted + "\""
  }
}

/// The environment variables of the process.
enum Environment {
  static subscript(name: String) -> String? {
    guard let value = unsafe getenv(name) else { return nil }
    return unsafe String(cString: value)
  }
}
