// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// What a heap has done so far.
//
// One value, made in one go under the heap's own lock, so that its numbers fit together:
// `allocatedObjects - freedObjects` are the objects that are in the heap, dead ones that are
// not swept yet included. Counts only grow; sizes go up and down. What a mutator has in
// its current runs is accounted when it next refills, so the newest few kilobytes a thread
// may be missing while it runs; inside its own heap's `collect()` nothing is.

/// Sizes, counts and times of a heap at one moment.
public struct HeapStatistics: Hashable, Sendable {
  /// Bytes that the last collection found reachable.
  public let liveBytes: Int

  /// Bytes of all objects, dead ones that are not swept yet included.
  public let heapBytes: Int

  /// Bytes at which the current or the next collection aims to finish; `Int.max` when off.
  public let heapGoal: Int

  /// Bytes taken from the system, what lies behind them included.
  public let mappedBytes: Int

  /// Bytes of those that were given back to the system.
  public let releasedBytes: Int

  /// Bytes allocated since the heap was made.
  public let allocatedBytes: Int

  /// Objects allocated since the heap was made.
  public let allocatedObjects: Int

  /// Objects freed since the heap was made.
  public let freedObjects: Int

  /// Collections completed.
  public let cycleCount: Int

  /// Collections of those that `collect()` asked for.
  public let forcedCycleCount: Int

  /// Share of the process's processor time, since the heap was made, that went to collecting.
  public let gcCPUFraction: Double

  /// Processor time spent marking, by workers.
  public let markTime: Duration

  /// Processor time spent marking, by allocating threads.
  public let assistTime: Duration

  /// Processor time spent sweeping.
  public let sweepTime: Duration

  /// How long threads were held up.
  public let pauses: PauseHistogram

  /// Memory by size class, ascending; class 0, the large objects, first.
  public let bySizeClass: [SizeClassStatistics]

  package init(
    liveBytes: Int, heapBytes: Int, heapGoal: Int, mappedBytes: Int, releasedBytes: Int,
    allocatedBytes: Int, allocatedObjects: Int, freedObjects: Int, cycleCount: Int,
    forcedCycleCount: Int, gcCPUFraction: Double, markTime: Duration, assistTime: Duration,
    sweepTime: Duration, pauses: PauseHistogram, bySizeClass: [SizeClassStatistics]
  ) {
    self.liveBytes = liveBytes
    self.heapBytes = heapBytes
    self.heapGoal = heapGoal
    self.mappedBytes = mappedBytes
    self.releasedBytes = releasedBytes
    self.allocatedBytes = allocatedBytes
    self.allocatedObjects = allocatedObjects
    self.freedObjects = freedObjects
    self.cycleCount = cycleCount
    self.forcedCycleCount = forcedCycleCount
    self.gcCPUFraction = gcCPUFraction
    self.markTime = markTime
    self.assistTime = assistTime
    self.sweepTime = sweepTime
    self.pauses = pauses
    self.bySizeClass = bySizeClass
  }

  /// The part of a heap that one size class has.
  public struct SizeClassStatistics: Hashable, Sendable {
    /// The size class: 1 to 67 by slot size, 0 for large objects.
    public let sizeClass: Int
    /// Bytes of a slot; 0 for large objects, which have a size each.
    public let slotSize: Int
    /// Objects, dead ones that are not swept yet included.
    public let objects: Int
    /// Bytes of their slots.
    public let bytes: Int
    /// Spans in use.
    public let spans: Int

    package init(sizeClass: Int, slotSize: Int, objects: Int, bytes: Int, spans: Int) {
      self.sizeClass = sizeClass
      self.slotSize = slotSize
      self.objects = objects
      self.bytes = bytes
      self.spans = spans
    }
  }
}
