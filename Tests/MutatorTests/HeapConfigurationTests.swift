// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

import Mutator
import Testing

@Suite struct HeapConfigurationTests {
  func configuration(_ variables: [String: String]) -> HeapConfiguration {
    HeapConfiguration.fromEnvironment { variables[$0] }
  }

  /// What is wrong with a configuration, or nil.
  func problem(_ configuration: HeapConfiguration) -> String? {
    do throws(HeapError) {
      try configuration.validate()
      return nil
    } catch {
      guard case .invalidConfiguration(let problem) = error else { return "\(error)" }
      return problem
    }
  }

  @Test("the defaults are those of the documentation, and valid")
  func defaults() {
    let configuration = HeapConfiguration()
    #expect(configuration.name == "heap")
    #expect(configuration.gcPercent == .percent(100))
    #expect(configuration.memoryLimit == nil && configuration.hardLimit == nil)
    #expect(configuration.minimumHeap == 4 * 1024 * 1024)
    #expect(configuration.workers == nil)
    #expect(configuration.hugePages == .automatic)
    #expect(configuration.trace == .off && configuration.checks == .off)
    #expect(configuration.stress.isNone)
    #expect(problem(configuration) == nil)
    #expect(self.configuration([:]) == configuration)
  }

  @Test("variables of the environment change the defaults")
  func environment() {
    let configuration = configuration([
      "HEAP_GCPERCENT": "250", "HEAP_MEMLIMIT": "1.5GiB", "HEAP_TRACE": "1", "HEAP_CHECK": "1",
      "HEAP_STRESS": "collect=1000,buffer=4,delay=50,seed=7",
      "HEAP_HUGEPAGES": "never",
    ])
    #expect(configuration.hugePages == .never)
    #expect(configuration.gcPercent == 250)
    #expect(configuration.memoryLimit == 3 << 29)
    #expect(configuration.trace == .cycles)
    #expect(configuration.checks == .on)
    #expect(
      configuration.stress
        == StressOptions(collectEvery: 1000, barrierBuffer: 4, handshakeDelay: 50, seed: 7))
    #expect(problem(configuration) == nil)
  }

  @Test("off, 0 and an empty variable are accepted")
  func off() {
    let off = configuration([
      "HEAP_GCPERCENT": "off", "HEAP_MEMLIMIT": "off", "HEAP_TRACE": "0", "HEAP_CHECK": "0",
      "HEAP_STRESS": "",
    ])
    var expected = HeapConfiguration()
    expected.gcPercent = .off
    #expect(off == expected)
    #expect(problem(off) == nil)
    #expect(configuration(["HEAP_GCPERCENT": ""]) == HeapConfiguration())
  }

  @Test(
    "a malformed variable is named with its value and what is accepted",
    arguments: [
      ("HEAP_GCPERCENT", "-1", "percent"), ("HEAP_GCPERCENT", "100%", "or off"),
      ("HEAP_GCPERCENT", "99999999999999999999", "percent"), ("HEAP_MEMLIMIT", "512MB", "512MiB"),
      ("HEAP_MEMLIMIT", "-5", "off"), ("HEAP_MEMLIMIT", "9000000TiB", "bytes"),
      ("HEAP_HUGEPAGES", "1", "automatic"),
      ("HEAP_TRACE", "yes", "1 or 0"), ("HEAP_CHECK", "2", "1 or 0"),
      ("HEAP_STRESS", "collect", "collect=ALLOCATIONS"), ("HEAP_STRESS", "speed=3", "seed=NUMBER"),
      ("HEAP_STRESS", "delay=9223372036854775807", "delay=MICROSECONDS (at most 1000000)"),
      ("HEAP_STRESS", "seed=1,buffer=1048577", "buffer=ENTRIES (at most 1048576)"),
      ("HEAP_STRESS", "collect=-1", "collect=ALLOCATIONS"),
      ("HEAP_STRESS", "collect=9223372036854775808", "collect=ALLOCATIONS"),
    ])
  func malformed(name: String, value: String, accepted: String) throws {
    let problem = try #require(self.problem(configuration([name: value])))
    #expect(problem.hasPrefix("\(name) is \"\(value)\"; accepted: "))
    #expect(problem.contains(accepted))
  }

  @Test("settings that make no sense are refused by name")
  func validation() {
    func refused(_ change: (inout HeapConfiguration) -> Void) -> String {
      var configuration = HeapConfiguration()
      change(&configuration)
      return problem(configuration) ?? "accepted"
    }
    #expect(refused { $0.gcPercent = -1 }.hasPrefix("gcPercent is -1; accepted:"))
    #expect(refused { $0.memoryLimit = -1 }.hasPrefix("memoryLimit is -1"))
    #expect(refused { $0.hardLimit = 4096 }.hasPrefix("hardLimit is 4096; accepted: 1048576 bytes"))
    #expect(refused { $0.minimumHeap = -1 }.hasPrefix("minimumHeap is -1"))
    #expect(refused { $0.workers = 0 }.hasPrefix("workers is 0; accepted: 1 to 1024"))
    #expect(
      refused { $0.stress.barrierBuffer = -1 }
        == "stress.barrierBuffer is -1; accepted: 0 (the default) to 1048576 entries")
    #expect(
      refused { $0.stress.barrierBuffer = .max }.hasPrefix("stress.barrierBuffer is 92233720368"))
    #expect(
      refused { $0.stress.handshakeDelay = .max }
        == "stress.handshakeDelay is 9223372036854775807; accepted: 0 (none) to 1000000 microseconds"
    )
    #expect(refused { $0.stress.handshakeDelay = 1_000_001 }.hasPrefix("stress.handshakeDelay"))
    #expect(refused { $0.stress.handshakeDelay = -1 }.hasPrefix("stress.handshakeDelay is -1"))
    #expect(refused { $0.stress.collectEvery = -1 }.hasPrefix("stress.collectEvery is -1"))
    #expect(refused { $0.stress.collectEvery = .max } == "accepted")
    #expect(refused { $0.stress.handshakeDelay = 1_000_000 } == "accepted")
    #expect(refused { $0.memoryLimit = 0 } == "accepted")
    #expect(refused { $0.gcPercent = .percent(.max) } == "accepted")
    #expect(refused { $0.minimumHeap = 0 } == "accepted")
  }

  @Test(
    "sizes are numbers with a binary unit",
    arguments: [
      ("0", 0), ("4096", 4096), ("12B", 12), ("512KiB", 524_288), ("512MiB", 536_870_912),
      ("2GiB", 2_147_483_648), ("1TiB", 1_099_511_627_776), ("1.5GiB", 1_610_612_736),
      ("0.1KiB", 102), ("8388607TiB", 9_223_370_937_343_148_032),
    ])
  func sizes(text: String, bytes: Int) {
    #expect(ByteSize.parse(text) == bytes)
  }

  @Test(
    "what is no size is refused",
    arguments: [
      "", "-1", "+1", " 1", "1 MiB", "MiB", "1.5", "1.5B", "1.MiB", ".5MiB", "1.2.3MiB", "1MB",
      "1mib", "0x10", "1e3", "off", "8388608TiB", "9223372036854775808", "8388607.99TiB9",
    ])
  func noSizes(text: String) {
    #expect(ByteSize.parse(text) == nil)
  }

  @Test("percentages and stress options are parsed from what they print")
  func roundTrips() {
    for percent in [GCPercent.off, 0, 100, .percent(.max)] {
      #expect(GCPercent(percent.description) == percent)
    }
    let stress = StressOptions(
      collectEvery: 3, minorCycles: 2, barrierBuffer: 1, handshakeDelay: 9, seed: .max)
    #expect(StressOptions(stress.description) == stress)
    #expect(StressOptions("seed=5")?.seed == 5)
  }

  @Test(
    "a stress option that is given twice is refused",
    arguments: ["collect=1,collect=2", "seed=1,seed=1", "buffer=0,delay=1,buffer=4"])
  func repeated(text: String) {
    #expect(StressOptions(text) == nil)
    let configuration = HeapConfiguration.fromEnvironment { $0 == "HEAP_STRESS" ? text : nil }
    #expect(configuration.description.contains("\nproblem      HEAP_STRESS is \"\(text)\""))
    #expect(configuration.description.contains("each at most once"))
  }

  @Test("errors say what happened and what to do")
  func errors() {
    #expect(HeapError.invalidConfiguration("x is 1").description.contains("x is 1"))
    let limited = HeapError.outOfMemory(requested: 64, limit: 1 << 20).description
    #expect(limited.contains("64 bytes") && limited.contains("1048576 bytes"))
    #expect(limited.contains("hardLimit"))
    #expect(HeapError.outOfMemory(requested: 64, limit: nil).description.contains("the system"))
    let system = HeapError.system(operation: "mmap", errno: 12).description
    #expect(system == "mmap failed: Cannot allocate memory (errno 12)")
  }

  @Test("a configuration describes itself, one setting a line")
  func describing() {
    var configuration = HeapConfiguration()
    configuration.name = "documents"
    configuration.hardLimit = 3 << 29
    configuration.stress = StressOptions(collectEvery: 7)
    #expect(
      configuration.description == """
        name         "documents"
        gcPercent    100
        memoryLimit  none
        hardLimit    1.5 GiB
        minimumHeap  4.0 MiB
        workers      a quarter of the cores
        generations  automatic
        hugePages    automatic
        trace        off
        checks       off
        stress       collect=7,minor=0,buffer=0,delay=0,seed=0
        """)
    let unreadable = HeapConfiguration.fromEnvironment { $0 == "HEAP_TRACE" ? "yes" : nil }
    #expect(
      unreadable.description.contains("\nproblem      HEAP_TRACE is \"yes\"; accepted: 1 or 0"))
  }
}
