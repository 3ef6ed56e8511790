// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Settings from the environment.
//
//   HEAP_GCPERCENT   100, off
//   HEAP_MEMLIMIT    512MiB, 2GiB, a number of bytes, off
//   HEAP_GENERATIONS automatic, off
//   HEAP_HUGEPAGES   automatic, system, always, never
//   HEAP_TRACE       1: a line for each collection; 0
//   HEAP_CHECK       1: verify; 0
//   HEAP_STRESS      collect=1000,minor=3,buffer=4,delay=50,seed=7
//
// A variable that is not set or empty changes nothing. One that cannot be read is not
// ignored: the configuration remembers it, and no heap can be made from it. Reading does not
// throw itself, so that it can be a default argument.

internal import Glibc

extension HeapConfiguration {
  /// The default settings, changed by the environment of the process.
  ///
  /// Reads `HEAP_GCPERCENT`, `HEAP_MEMLIMIT`, `HEAP_GENERATIONS`, `HEAP_HUGEPAGES`, `HEAP_TRACE`,
  /// `HEAP_CHECK` and `HEAP_STRESS`. A malformed value makes `ManagedHeap.init` throw
  /// `HeapError.invalidConfiguration`.
  public static func fromEnvironment() -> HeapConfiguration {
    fromEnvironment { name in unsafe getenv(name).map { unsafe String(cString: $0) } }
  }

  /// The default settings, changed by the variables that `variable` returns.
  package static func fromEnvironment(
    _ variable: (String) -> String?
  ) -> HeapConfiguration {
    var configuration = HeapConfiguration()
    configuration.read("HEAP_GCPERCENT", variable, accepted: GCPercent.accepted) {
      GCPercent($0).map { percent in { $0.gcPercent = percent } }
    }
    configuration.read("HEAP_MEMLIMIT", variable, accepted: ByteSize.accepted) {
      if $0 == "off" { return { $0.memoryLimit = nil } }
      return ByteSize.parse($0).map { limit in { $0.memoryLimit = limit } }
    }
    configuration.read("HEAP_GENERATIONS", variable, accepted: "automatic or off") {
      switch $0 {
      case "automatic": { $0.generations = .automatic }
      case "off": { $0.generations = .off }
      default: nil
      }
    }
    configuration.read(
      "HEAP_HUGEPAGES", variable, accepted: "automatic, system, always or never"
    ) {
      switch $0 {
      case "automatic": { $0.hugePages = .automatic }
      case "system": { $0.hugePages = .system }
      case "always": { $0.hugePages = .always }
      case "never": { $0.hugePages = .never }
      default: nil
      }
    }
    configuration.read("HEAP_TRACE", variable, accepted: "1 or 0") {
      flag($0).map { isOn in { $0.trace = isOn ? .cycles : .off } }
    }
    configuration.read("HEAP_CHECK", variable, accepted: "1 or 0") {
      flag($0).map { isOn in { $0.checks = isOn ? .on : .off } }
    }
    configuration.read("HEAP_STRESS", variable, accepted: StressOptions.accepted) {
      StressOptions($0).map { stress in { $0.stress = stress } }
    }
    return configuration
  }

  /// Applies one variable, or remembers that it is malformed; the first such is kept.
  private mutating func read(
    _ name: String, _ variable: (String) -> String?, accepted: String,
    _ parse: (String) -> ((inout HeapConfiguration) -> Void)?
  ) {
    guard let text = variable(name), !text.isEmpty else { return }
    if let change = parse(text) {
      change(&self)
    } else if problem == nil {
      problem = "\(name) is \"\(text)\"; accepted: \(accepted)"
    }
  }

  private static func flag(_ text: String) -> Bool? {
    switch text {
    case "1": true
    case "0": false
    default: nil
    }
  }
}
