// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// What a heap has done so far.
//
// The numbers of one value fit together: `allocatedObjects - freedObjects` are the objects that
// are in the heap, dead ones that are not swept yet included, and never fewer than none. Counts,
// totals and times only grow; sizes go up and down.
//
// A run of slots is counted when it is used up, and when its thread blocks or leaves. What another
// thread that runs has taken from its current runs is missing until then: some kilobytes a type
// and thread at the most. When all threads have left, everything is exact.

/// Sizes, counts and times of a heap at one moment.
public struct HeapStatistics: Hashable, Sendable {
  /// Bytes that the last collection found reachable.
  ///
  /// A minor collection takes for reachable what the ones before have found. So after it, old objects
  /// that have died since the last full collection are included.
  public let liveBytes: Int

  /// Bytes of all objects, dead ones that are not swept yet included.
  public let heapBytes: Int

  /// Bytes at which the current or the next collection aims to finish; `Int.max` when off.
  public let heapGoal: Int

  /// Bytes outside of the heap that ``HeapMutator/adjustExternalMemory(by:)`` has told of.
  public let externalBytes: Int

  /// Address space taken from the system for arenas and side tables, backed by memory or not.
  public let mappedBytes: Int

  /// Bytes of those in free pages with no memory behind them: never used, or given back.
  public let releasedBytes: Int

  /// Bytes allocated since the heap was made.
  ///
  /// Only grows.
  public let allocatedBytes: Int

  /// Objects allocated since the heap was made.
  ///
  /// Only grows. Values of less than 16 bytes without references that share a slot count as one.
  public let allocatedObjects: Int

  /// Objects freed since the heap was made.
  ///
  /// Only grows, and is never more than `allocatedObjects`.
  public let freedObjects: Int

  /// Objects of those whose fields have been destroyed that ARC manages.
  ///
  /// Only grows. Objects without such fields are not counted. What an object owns is destroyed some
  /// time after the object was freed, by a thread of the heap's own.
  public let destroyedObjects: Int

  /// Collections that have marked all that lives; the last one may still be sweeping.
  public let cycleCount: Int

  /// Collections of those that `collect()`, a refused request or stress asked for.
  public let forcedCycleCount: Int

  /// Collections of those that left out what had been found alive before.
  public let minorCycleCount: Int

  /// Share of the process's processor time, since the heap was made, that went to collecting.
  public let gcCPUFraction: Double

  /// Processor time of the heap's own threads outside of sweeping.
  public let markTime: Duration

  /// Processor time spent marking, by allocating threads.
  public let assistTime: Duration

  /// Time spent sweeping: processor time of the heap's own thread, and elapsed time of threads
  /// that swept a span because they needed its slots.
  public let sweepTime: Duration

  /// How long threads were held up.
  public let pauses: PauseHistogram

  /// Weak references that are not nil, as far as known: those that the last collection left, and those
  /// made since.
  public let weakReferences: Int

  /// Weak references that have become nil.
  ///
  /// Only grows.
  public let clearedWeakReferences: Int

  /// Entries of ephemeron maps, as far as known: those that the last collection left, and those made
  /// since.
  public let ephemerons: Int

  /// Cleanups that have neither run nor been cancelled.
  public let waitingCleanups: Int

  /// Cleanups that have run.
  ///
  /// Only grows.
  public let finishedCleanups: Int

  /// Memory by size class, ascending; class 0, the large objects, first.
  public let bySizeClass: [SizeClassStatistics]

  package init(
    liveBytes: Int, heapBytes: Int, heapGoal: Int, externalBytes: Int, mappedBytes: Int,
    releasedBytes: Int, allocatedBytes: Int, allocatedObjects: Int, freedObjects: Int,
    destroyedObjects: Int, cycleCount: Int, forcedCycleCount: Int, minorCycleCount: Int,
    gcCPUFraction: Double,
    markTime: Duration, assistTime: Duration, sweepTime: Duration, pauses: PauseHistogram,
    weakReferences: Int, clearedWeakReferences: Int, ephemerons: Int,
    waitingCleanups: Int, finishedCleanups: Int, bySizeClass: [SizeClassStatistics]
  ) {
    self.liveBytes = liveBytes
    self.heapBytes = heapBytes
    self.heapGoal = heapGoal
    self.externalBytes = externalBytes
    self.mappedBytes = mappedBytes
    self.releasedBytes = releasedBytes
    self.allocatedBytes = allocatedBytes
    self.allocatedObjects = allocatedObjects
    self.freedObjects = freedObjects
    self.destroyedObjects = destroyedObjects
    self.cycleCount = cycleCount
    self.forcedCycleCount = forcedCycleCount
    self.minorCycleCount = minorCycleCount
    self.gcCPUFraction = gcCPUFraction
    self.markTime = markTime
    self.assistTime = assistTime
    self.sweepTime = sweepTime
    self.pauses = pauses
    self.weakReferences = weakReferences
    self.clearedWeakReferences = clearedWeakReferences
    self.ephemerons = ephemerons
    self.waitingCleanups = waitingCleanups
    self.finishedCleanups = finishedCleanups
    self.bySizeClass = bySizeClass
  }

  /// The part of a heap that one size class has.
  public struct SizeClassStatistics: Hashable, Sendable {
    /// The size class: 1 to 66 by slot size, 0 for large objects.
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

extension HeapStatistics: CustomStringConvertible {
  /// The figures, one a line; of the size classes those that have spans.
  public var description: String {
    let share = Int((gcCPUFraction * 1000).rounded())
    let sizes = bySizeClass.filter { $0.spans > 0 }.map { size in
      (
        size.slotSize == 0 ? "large objects" : "slots of \(size.slotSize) B",
        "\(size.objects) objects, \(ByteSize.text(size.bytes)), \(size.spans) spans"
      )
    }
    return Items.text(
      [
        ("liveBytes", ByteSize.text(liveBytes)),
        ("heapBytes", ByteSize.text(heapBytes)),
        ("heapGoal", ByteSize.text(heapGoal)),
        ("externalBytes", ByteSize.text(externalBytes)),
        ("mappedBytes", ByteSize.text(mappedBytes)),
        ("releasedBytes", ByteSize.text(releasedBytes)),
        ("allocatedBytes", ByteSize.text(allocatedBytes)),
        ("allocatedObjects", "\(allocatedObjects)"),
        ("freedObjects", "\(freedObjects)"),
        ("destroyedObjects", "\(destroyedObjects)"),
        ("cycleCount", "\(cycleCount)"),
        ("forcedCycleCount", "\(forcedCycleCount)"),
        ("minorCycleCount", "\(minorCycleCount)"),
        ("gcCPUFraction", "\(share / 10).\(share % 10) %"),
        ("markTime", "\(markTime)"),
        ("assistTime", "\(assistTime)"),
        ("sweepTime", "\(sweepTime)"),
        ("pauses", "\(pauses)"),
        ("weakReferences", "\(weakReferences)"),
        ("clearedWeakReferences", "\(clearedWeakReferences)"),
        ("ephemerons", "\(ephemerons)"),
        ("waitingCleanups", "\(waitingCleanups)"),
        ("finishedCleanups", "\(finishedCleanups)"),
      ] + sizes)
  }
}
