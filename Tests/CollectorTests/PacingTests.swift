// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// When a cycle starts: figures in, decisions out.
//
// A table of scenarios with the goal worked out by hand, then every combination of extremes,
// for which only this is asked: no trap, and an order that makes sense.

import Collector
import Heap
import Synchronization
import Testing

@Suite("Pacing")
struct PacingTests {
  struct Scenario: Sendable, CustomTestStringConvertible {
    var name: String
    var percent: Int?
    var limit: Int?
    var minimum = 4 << 20
    var live: Int
    var roots = 0
    var overhead = 0
    var goal: Int
    var testDescription: String { name }
  }

  static let scenarios = [
    Scenario(name: "an empty heap has the minimum", percent: 100, live: 0, goal: 4 << 20),
    Scenario(name: "half the percentage, half the minimum", percent: 50, live: 0, goal: 2 << 20),
    Scenario(name: "ten times the percentage", percent: 1000, live: 0, goal: 40 << 20),
    Scenario(name: "the default doubles", percent: 100, live: 100 << 20, goal: 200 << 20),
    Scenario(name: "200 % triples", percent: 200, live: 100 << 20, goal: 300 << 20),
    Scenario(name: "1 %", percent: 1, live: 100_000_000, goal: 101_000_000),
    Scenario(
      name: "roots and stacks count into the growth, not the base", percent: 100,
      live: 100 << 20, roots: 10 << 20, goal: 210 << 20),
    Scenario(name: "just under the minimum", percent: 100, live: (2 << 20) - 1, goal: 4 << 20),
    Scenario(name: "just over it", percent: 100, live: (2 << 20) + 1, goal: (4 << 20) + 2),
    Scenario(name: "another minimum", percent: 100, minimum: 64 << 20, live: 1, goal: 64 << 20),
    Scenario(name: "0 % collects all the time", percent: 0, live: 5 << 20, goal: 5 << 20),
    Scenario(name: "off", percent: nil, live: 1 << 40, goal: .max),
    Scenario(
      name: "off with a limit: the limit, less what is not objects", percent: nil,
      limit: 100 << 20, live: 10 << 20, overhead: 4 << 20, goal: 96 << 20),
    Scenario(
      name: "a limit that is far does nothing", percent: 100, limit: 1 << 40, live: 100 << 20,
      goal: 200 << 20),
    Scenario(
      name: "a limit that is near lowers the goal", percent: 100, limit: 150 << 20,
      live: 100 << 20, goal: 150 << 20),
    Scenario(
      name: "a limit below what is live cannot be kept", percent: 100, limit: 50 << 20,
      live: 100 << 20, goal: 100 << 20),
    Scenario(name: "a limit of 0", percent: 100, limit: 0, live: 7, goal: 7),
    Scenario(
      name: "an overhead beyond the limit", percent: 100, limit: 1 << 20, live: 0,
      overhead: 2 << 20, goal: 0),
    Scenario(name: "Int.max percent", percent: .max, live: 1 << 20, goal: .max),
    Scenario(name: "live near Int.max", percent: 100, live: .max - 5, goal: .max),
    Scenario(name: "16 TiB", percent: 100, live: 1 << 44, goal: 1 << 45),
    Scenario(name: "16 TiB at 300 %", percent: 300, live: 1 << 44, goal: 1 << 46),
    Scenario(name: "a minimum of Int.max", percent: 100, minimum: .max, live: 5, goal: .max),
  ]

  @Test("the goal is the formula's", arguments: scenarios)
  func goal(of scenario: Scenario) {
    let pacing = Pacing(
      percent: scenario.percent, memoryLimit: scenario.limit, minimumHeap: scenario.minimum)
    let decision = pacing.decide(
      .init(live: scenario.live, roots: scenario.roots, overhead: scenario.overhead))
    #expect(decision.goal == scenario.goal)
    check(decision, live: scenario.live)
  }

  private func check(_ decision: Pacing.Decision, live: Int) {
    #expect(decision.goal >= 0 && decision.trigger >= 0)
    #expect(decision.trigger <= decision.goal)
    #expect(decision.assistRatio >= 0 && decision.assistRatio <= 16 << 10)
    // A step of a full cycle is 8 KiB, unless that takes runs that are too short or too long.
    #expect(decision.assistGrain >= 512 && decision.assistGrain <= 32 << 10)
    if decision.kind == .full, decision.assistRatio >= 1024 {
      let (grain, wanted) = (decision.assistGrain, 8 << 20)
      #expect(grain * decision.assistRatio <= wanted)
      #expect((grain + 1) * decision.assistRatio > wanted)
    }
    if decision.goal < .max && decision.goal >= max(live, 0) {
      #expect(decision.trigger >= max(live, 0), "not before what is live has been allocated again")
    }
    if decision.goal == .max { #expect(decision.trigger == .max && decision.assistRatio == 0) }
  }

  @Test("no combination of extremes traps or makes nonsense")
  func extremes() {
    let figures: [Int] = [.min, .min + 1, -1, 0, 1, 99, 4 << 20, 1 << 44, 1 << 62, .max - 1, .max]
    let rules: [Int?] = figures.map { $0 } + [nil]
    for percent in rules {
      for limit in rules {
        for minimum in [.min, -1, 0, 4 << 20, .max] {
          var pacing = Pacing(percent: percent, memoryLimit: limit, minimumHeap: minimum)
          for live in figures {
            for other in [.min, -1, 0, 1 << 20, .max] {
              for hasGenerations in [false, true] {
                pacing.hasGenerations = hasGenerations
                check(
                  pacing.decide(
                    .init(live: live, sinceFull: other, roots: other, overhead: other)), live: live)
              }
            }
          }
        }
      }
    }
  }

  @Test("a cycle starts on the way from live to goal, and an assist is enough for the rest")
  func triggerAndAssist() {
    let pacing = Pacing(percent: 100, memoryLimit: nil, minimumHeap: 4 << 20)
    for live in [8 << 20, 100 << 20, 1 << 34] {
      let decision = pacing.decide(.init(live: live))
      #expect(decision.trigger > live && decision.trigger < decision.goal)
      // Allocating half of the way from the trigger to the goal pays for marking all that is
      // live, to the rounding of the ratio.
      let runway = Double(decision.goal - decision.trigger) / 2
      let paid = runway * Double(decision.assistRatio) / 1024
      #expect(abs(paid - Double(live)) < Double(live) / 1000)
    }
  }

  @Test("more live bytes never start a cycle earlier")
  func monotone() {
    let pacing = Pacing(percent: 100, memoryLimit: nil, minimumHeap: 4 << 20)
    let triggers = stride(from: 0, to: 64 << 20, by: 333_333).map {
      pacing.decide(.init(live: $0)).trigger
    }
    #expect(triggers == triggers.sorted())
  }

  @Test("sums and shares saturate at the bounds and are exact before them")
  func arithmetic() {
    #expect(5.saturatingAdd(-7) == -2)
    #expect(Int.max.saturatingAdd(1) == .max)
    #expect(Int.min.saturatingAdd(-1) == .min)
    #expect(Int.max.scaled(by: 100, over: 100) == .max)
    #expect((Int.max - 99).scaled(by: 1, over: 1) == .max - 99)
    #expect(Int.max.scaled(by: .max, over: 100) == .max)
    #expect((1 << 60).scaled(by: 50, over: 100) == 1 << 59)
    #expect(7.scaled(by: 33, over: 100) == 2)
    #expect(0.scaled(by: .max, over: 100) == 0)
  }

  @Test("a heap applies new rules at once, and starts a cycle that is overdue")
  func updating() throws {
    let fixture = try HeapFixture()
    fixture.attached { program in
      for _ in 0..<3000 { _ = program.makeArray(count: 200) }  // About 5 MB.
      #expect(program.heap.counters.cycles.load(ordering: .relaxed) == 0)
      program.heap.pacer.update { $0.percent = 1 }
      #expect(program.heap.pacer.rules.percent == 1)
      while program.heap.counters.cycles.load(ordering: .relaxed) == 0 { program.poll() }
    }
    #expect(fixture.heap.counters.forcedCycles.load(ordering: .relaxed) == 0)
  }

  /// The goal after a cycle that began at `before` allocated bytes and ended at `after`.
  private func goal(before: Int, after: Int, marked: Int, percent: Int = 100) throws -> Int {
    let fixture = try HeapFixture {
      $0.percent = percent
      $0.minimumHeap = 0
      $0.generations = false
    }
    let (words, pacer) = (unsafe fixture.heap.words, fixture.heap.pacer)
    pacer.cycleEnded(.full, live: 100 << 20, roots: 0, time: 0)
    unsafe words.pointee.allocatedBytes.store(before, ordering: .relaxed)
    pacer.markingBegan()
    unsafe words.pointee.allocatedBytes.store(after, ordering: .relaxed)
    pacer.markingEnded(marked: marked)
    #expect(unsafe words.pointee.allocatedBytes.load(ordering: .relaxed) == after)
    pacer.cycleEnded(.full, live: marked, roots: 0, time: 0)
    #expect(unsafe words.pointee.allocatedBytes.load(ordering: .relaxed) == marked)
    return unsafe words.pointee.goal.load(ordering: .relaxed)
  }

  @Test("what is allocated past the goal while the heap is marked does not raise the next goal")
  func pastTheGoal() throws {
    // 100 MiB live, so the goal is 200: 60 are allocated black before it, 500 after it. Of 140 MiB
    // all live, so the 60 count.
    #expect(try goal(before: 140 << 20, after: 200 << 20, marked: 200 << 20) == 400 << 20)
    #expect(try goal(before: 140 << 20, after: 700 << 20, marked: 700 << 20) == 400 << 20)
  }

  @Test("what is allocated while the heap is marked counts as far as what was there before lives")
  func survivors() throws {
    // A quarter of 160 MiB lives, so 10 of the 40 MiB that were allocated black count.
    #expect(try goal(before: 160 << 20, after: 200 << 20, marked: 80 << 20) == 100 << 20)
    // Nothing was there before.
    #expect(try goal(before: 0, after: 100 << 20, marked: 100 << 20) == 0)
  }

  @Test("a cycle starts as late as the last marking allows, between half and seven eighths")
  func trigger() {
    let pacing = Pacing(percent: 100, memoryLimit: nil, minimumHeap: 0)
    func trigger(_ black: Int?) -> Int {
      pacing.decide(.init(live: 1 << 30, black: black)).trigger - (1 << 30)
    }
    #expect(trigger(nil) == 1 << 29)
    #expect(trigger(.max) == 1 << 29)
    #expect(trigger(1 << 29) == 1 << 29)
    #expect(trigger(200 << 20) == (1024 - 400) << 20)
    #expect(trigger(0) == 896 << 20)
    #expect(trigger(-5) == 896 << 20)
  }

  @Test("where hardly anything is old, a cycle is a full one")
  func nothingOld() {
    let pacing = Pacing(percent: 100, memoryLimit: nil, minimumHeap: 4 << 20, hasGenerations: true)
    #expect(pacing.decide(.init(live: 0)).kind == .full)
    #expect(pacing.decide(.init(live: (64 << 10) - 1)).kind == .full)
    #expect(pacing.decide(.init(live: 64 << 10)).kind == .minor)
  }

  @Test("old garbage is looked for after 16 times what may be allocated up to the goal")
  func oldGarbage() throws {
    let fixture = try HeapFixture {
      $0.percent = 100
      $0.generations = true
      $0.stress.minorCycles = nil
    }
    let (words, pacer) = (unsafe fixture.heap.words, fixture.heap.pacer)
    let live = 100 << 20
    pacer.cycleEnded(.full, live: live, roots: 0, time: 1000)
    // Each cycle finds nothing new alive, and takes what is old for alive.
    for _ in 0..<3 {
      unsafe words.pointee.allocatedBytes.store(live, ordering: .relaxed)
      var allocated = 0
      var kind = CycleKind.minor
      while kind == .minor && allocated < 40 * live {
        kind = pacer.kind(of: CycleRequest(isForced: false, mustBeFull: false))
        let trigger = unsafe words.pointee.trigger.load(ordering: .relaxed)
        #expect(trigger > live && trigger < 2 * live)
        unsafe words.pointee.allocatedBytes.store(trigger, ordering: .relaxed)
        pacer.markingBegan()
        allocated += trigger - live
        pacer.markingEnded(marked: live)
        pacer.cycleEnded(kind, live: live, roots: 0, time: kind == .full ? 1000 : 1)
      }
      #expect(kind == .full && allocated >= 16 * live && allocated <= 18 * live)
    }
  }

  @Test("a full cycle that is due for that is paced as if there were no minor ones")
  func fullIsDue() {
    var pacing = Pacing(
      percent: 50, memoryLimit: nil, minimumHeap: 4 << 20, hasGenerations: true)
    let live = 1 << 30
    let due = live * 8
    var withoutGenerations = pacing
    withoutGenerations.hasGenerations = false
    #expect(pacing.decide(.init(live: live, sinceFull: due - 1)).kind == .minor)
    #expect(
      pacing.decide(.init(live: live, sinceFull: due))
        == withoutGenerations.decide(.init(live: live)))
    #expect(pacing.decide(.init(live: live, sinceFull: .max)).kind == .full)
    // What minor cycles have found since does not make the way shorter.
    #expect(
      pacing.decide(.init(live: live + live / 8, liveAfterFull: live, sinceFull: due - 1)).kind
        == .minor)
    pacing.percent = .max
    #expect(pacing.decide(.init(live: live, sinceFull: .max)).trigger == .max)
  }

  @Test("goals settle at any percentage, though each cycle uses up the way to its goal")
  func settling() throws {
    for percent in [25, 100, 200, 400, 1000] {
      let fixture = try HeapFixture {
        $0.percent = percent
        $0.minimumHeap = 0
        $0.generations = false
      }
      let (words, pacer) = (unsafe fixture.heap.words, fixture.heap.pacer)
      let live = 100 << 20
      pacer.cycleEnded(.full, live: live, roots: 0, time: 0)
      for _ in 0..<100 {
        let trigger = unsafe words.pointee.trigger.load(ordering: .relaxed)
        let goal = unsafe words.pointee.goal.load(ordering: .relaxed)
        unsafe words.pointee.allocatedBytes.store(trigger, ordering: .relaxed)
        pacer.markingBegan()
        unsafe words.pointee.allocatedBytes.store(goal, ordering: .relaxed)
        pacer.markingEnded(marked: live + goal - trigger)
        pacer.cycleEnded(.full, live: live + goal - trigger, roots: 0, time: 0)
      }
      let goal = unsafe words.pointee.goal.load(ordering: .relaxed)
      #expect(goal <= live * 2 * (100 + percent) / 100, "at \(percent) %")
    }
  }

  @Test("if what is old is past the goal of the next full cycle, that is no minor one")
  func pastFullGoal() throws {
    let fixture = try HeapFixture {
      $0.percent = 100
      $0.minimumHeap = 0
      $0.generations = true
      $0.stress.minorCycles = nil
    }
    let (words, pacer) = (unsafe fixture.heap.words, fixture.heap.pacer)
    pacer.cycleEnded(.full, live: 100 << 20, roots: 0, time: 0)
    let request = CycleRequest(isForced: false, mustBeFull: false)
    #expect(pacer.kind(of: request) == .minor)
    // A minor cycle marks 5 MiB that survive, and 200 MiB that were allocated meanwhile.
    unsafe words.pointee.allocatedBytes.store(110 << 20, ordering: .relaxed)
    pacer.markingBegan()
    unsafe words.pointee.allocatedBytes.store(310 << 20, ordering: .relaxed)
    pacer.markingEnded(marked: 305 << 20)
    pacer.cycleEnded(.minor, live: 305 << 20, roots: 0, time: 0)
    #expect(pacer.kind(of: request) == .full)
  }

  @Test("what was allocated past the goal before marking began counts, if it lives")
  func beforeMarking() throws {
    #expect(try goal(before: 700 << 20, after: 700 << 20, marked: 650 << 20) == 1300 << 20)
    // Even with a goal that leaves no room.
    #expect(
      try goal(before: 700 << 20, after: 800 << 20, marked: 800 << 20, percent: 0) == 700 << 20)
  }
}
