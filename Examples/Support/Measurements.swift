// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// What a program can ask the system about itself: the time, the CPU it used, the memory it
// occupied at most.
//
// All three are taken the way the programs in other languages take them, because the figures are
// put side by side:
//
//     time          CLOCK_MONOTONIC, nanoseconds
//     CPU seconds   user + system, all threads of the process, the collector's too
//     peak memory   VmHWM of /proc/self/status, kibibytes; absent where there is no /proc
//
// `Moment` is one word and reading it costs one call without a system call on Linux (about 20 to
// 40 ns), so that the latency benchmark can read it once a push.

internal import Glibc

/// A reading of the monotonic clock.
public struct Moment: Sendable, Comparable {
  /// Nanoseconds since some fixed time before the program started.
  public let nanoseconds: Int

  init(nanoseconds: Int) {
    self.nanoseconds = nanoseconds
  }

  /// The present.
  public static var now: Moment {
    var time = timespec()
    _ = unsafe clock_gettime(CLOCK_MONOTONIC, &time)
    return Moment(nanoseconds: Int(time.tv_sec) &* 1_000_000_000 &+ Int(time.tv_nsec))
  }

  /// Nanoseconds from another reading to this one.
  public static func - (later: Moment, earlier: Moment) -> Int {
    later.nanoseconds &- earlier.nanoseconds
  }

  /// Whether a reading is earlier than another.
  public static func < (left: Moment, right: Moment) -> Bool {
    left.nanoseconds < right.nanoseconds
  }

  /// Nanoseconds from this reading to the present.
  public var elapsed: Int { Moment.now - self }
}

/// What the process has used so far.
public enum ProcessUsage {
  /// User and system time of all threads, in seconds.
  public static var cpuSeconds: Double {
    var time = timespec()
    guard unsafe clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time) == 0 else { return 0 }
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
  }

  /// The most memory that was ever resident, in KiB; nil where the system does not tell.
  public static var peakResidentKiB: Int? {
    guard let bytes = try? FileBytes(reading: "/proc/self/status") else { return nil }
    let status = unsafe bytes.withBytes { unsafe String(decoding: $0, as: UTF8.self) }
    for line in status.split(separator: "\n") where line.hasPrefix("VmHWM:") {
      return Int(line.filter(\.isNumber))
    }
    return nil
  }
}
