// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// A thread of the shadow model: a random program, one operation after the other, in the heap
// and in the shadow.
//
// It attaches for a session of some hundred operations and leaves again. It has locals, which
// nobody else sees: references on its stack and nowhere else, in as many frames as it has
// nested. What they refer to must live as long as they do; the shadow knows their ids
// (`frames`). References are in locals of functions, never in this object, where the
// collector does not look.
//
// The programs of all threads work on the same domains, each operation under the lock of one.
//
// Owner: the thread. `frames` is read by nobody else.

import Glibc
import Mutator
import TestSupport

/// A node and its id, or nil and 0.
typealias NodePick = (ref: HeapRef<Shadow.Node>?, id: Int)
/// A hub and its id, or nil and 0.
typealias HubPick = (ref: HeapRef<Shadow.Hub>?, id: Int)

final class ShadowWorker {
  /// References of one frame.
  struct Locals {
    var nodes = InlineArray<4, HeapRef<Shadow.Node>?>(repeating: nil)
    var hubs = InlineArray<2, HeapRef<Shadow.Hub>?>(repeating: nil)
  }

  /// The ids of what a frame's locals refer to.
  struct Frame {
    var nodes = InlineArray<4, Int>(repeating: 0)
    var hubs = InlineArray<2, Int>(repeating: 0)
  }

  /// Where a walk through a domain has led: the last node and the last hub of the domain.
  struct Visit {
    var node: NodePick = (nil, 0)
    var hub: HubPick = (nil, 0)
  }

  let run: ShadowRun
  let number: Int
  var random: RandomNumbers
  var frames: [Frame] = []
  /// Operations until all threads meet.
  var left = 0
  var done = 0

  init(_ run: ShadowRun, _ number: Int) {
    self.run = run
    self.number = number
    random = RandomNumbers(seed: run.settings.seed &* 1000 &+ UInt64(number))
  }

  func fail(_ problem: String) {
    run.fail("thread \(number), operation \(done): \(problem)")
  }

  func name(_ id: Int) -> String { id == 0 ? "nil" : "\(id >> 6)@\(id & 63)" }

  // MARK: - Sessions

  /// The thread's life.
  func main() {
    run.rendezvous.meet()
    left = run.plan.operations
    while !run.isOver {
      if left > 0 {
        run.heap.withMutator { session($0) }
        if random.oneIn(4) { run.undertaker.bury() }
      } else {
        for _ in 0..<3 { run.rendezvous.meet() }
        left = run.plan.operations
      }
    }
  }

  private func session(_ mutator: HeapMutator) {
    var locals = Locals()
    frames.append(Frame())
    var length = 200 + random.below(4000)
    while length > 0, !run.isOver {
      let count = min(left, length)
      steps(mutator, &locals, count, depth: 0)
      length -= count
      if left == 0 {
        guard run.plan.staysAttached else { break }
        meet(mutator, &locals)
        length = max(length, random.below(2) * 300)
      }
    }
    frames.removeLast()
  }

  /// All threads meet; this one is inside the heap, and its locals count as roots.
  private func meet(_ mutator: HeapMutator, _ locals: inout Locals) {
    mutator.blocking { run.rendezvous.meet() }
    if !run.hasFailed {
      var census = Census(run.domains)
      let frame = frames[0]
      for i in locals.nodes.indices { census.walk(locals.nodes[i], frame.nodes[i], mutator) }
      for i in locals.hubs.indices { census.walk(locals.hubs[i], frame.hubs[i], mutator) }
      run.add(census.reached)
    }
    mutator.blocking { run.rendezvous.meet() }
    mutator.blocking { run.rendezvous.meet() }
    left = run.plan.operations
  }

  @inline(never)
  private func steps(
    _ mutator: HeapMutator, _ locals: inout Locals, _ count: Int, depth: Int
  ) {
    for _ in 0..<count {
      guard left > 0 else { return }
      left -= 1
      done += 1
      if run.hasFailed { continue }
      step(mutator, &locals, depth)
    }
  }

  // MARK: - Steps

  private func step(_ mutator: HeapMutator, _ locals: inout Locals, _ depth: Int) {
    if random.below(100) < 96 {
      // Each thread has a domain that it prefers; the others' are all the same to it.
      let domain = run.domains[
        random.oneIn(2) ? number % run.domains.count : random.below(run.domains.count)]
      domain.lock.lock(mutator)
      change(domain, mutator, &locals)
      domain.lock.unlock()
      return
    }
    switch random.below(20) {
    case 0..<5: mutator.safepoint()
    case 5..<8: mutator.blocking { _ = sched_yield() }
    case 8: mutator.blocking { _ = usleep(20) }
    case 9..<12: if depth < 3 { nested(mutator, depth) }
    case 12: if depth < 3 { mutator.heap.withMutator { nested($0, depth) } }
    case 13:
      if depth < 3 { mutator.blocking { run.heap.withMutator { nested($0, depth) } } }
    case 14: checkCurrent(mutator)
    case 15: if random.oneIn(run.settings.collectOneIn) { mutator.collect() }
    case 16: if random.oneIn(20) { changePercent() }
    case 17: if random.oneIn(20) { _ = run.heap.statistics.allocatedBytes }
    case 18: run.undertaker.bury()
    default: break
    }
  }

  /// More steps, in a frame further down, with locals of its own.
  @inline(never)
  private func nested(_ mutator: HeapMutator, _ depth: Int) {
    var locals = Locals()
    frames.append(Frame())
    steps(mutator, &locals, random.below(40), depth: depth + 1)
    check(locals)
    frames.removeLast()
  }

  /// The locals still refer to what they did.
  private func check(_ locals: Locals) {
    let frame = frames[frames.count - 1]
    for i in locals.nodes.indices where locals.nodes[i]?.id ?? 0 != frame.nodes[i] {
      fail("a local refers to node \(name(locals.nodes[i]?.id ?? 0)), not \(name(frame.nodes[i]))")
    }
    for i in locals.hubs.indices where locals.hubs[i]?.id ?? 0 != frame.hubs[i] {
      fail("a local refers to hub \(name(locals.hubs[i]?.id ?? 0)), not \(name(frame.hubs[i]))")
    }
  }

  private func checkCurrent(_ mutator: HeapMutator) {
    if HeapMutator.current?.heap !== run.heap { fail("HeapMutator.current is of another heap") }
  }

  private func changePercent() {
    let choices: [GCPercent] = [10, 50, 100, 100, 200, 400, .off]
    run.heap.gcPercent = choices[random.below(choices.count)]
  }

  // MARK: - Walking

  /// Goes some steps through a domain from a root or a local, and compares on the way.
  func walk(_ domain: ShadowDomain, _ mutator: HeapMutator, _ locals: Locals) -> Visit {
    var visit = Visit()
    var node: NodePick = (nil, 0)
    var hub: HubPick = (nil, 0)
    let place = random.below(ShadowDomain.rootCount)
    let frame = frames[frames.count - 1]
    switch random.below(8) {
    case 0..<2:
      // The freshest objects are here: see `keep`.
      node = (domain.nodeRoots[0].root?.get(in: mutator), domain.nodeRoots[0].id)
    case 2..<4: node = (domain.nodeRoots[place].root?.get(in: mutator), domain.nodeRoots[place].id)
    case 4..<6: hub = (domain.hubRoots[place].root?.get(in: mutator), domain.hubRoots[place].id)
    case 6: node = (locals.nodes[place & 3], frame.nodes[place & 3])
    default: hub = (locals.hubs[place & 1], frame.hubs[place & 1])
    }
    for _ in 0...random.below(10) {
      if let ref = node.ref {
        guard arrive(ref.id, node.id), domain.owns(node.id) else { return visit }
        guard let shadow = domain.nodes[node.id] else {
          fail("node \(name(node.id)) has no shadow")
          return visit
        }
        guard ref.stamp == shadow.stamp, ref.seal == Shadow.seal(node.id, shadow.stamp) else {
          fail("node \(name(node.id)) has stamp \(ref.stamp), should be \(shadow.stamp)")
          return visit
        }
        visit.node = node
        switch random.below(3) {
        case 0: node = (ref.left, shadow.left)
        case 1: node = (ref.right, shadow.right)
        default: (node, hub) = ((nil, 0), (ref.hub, shadow.hub))
        }
      } else if let ref = hub.ref {
        guard arrive(ref.id, hub.id), domain.owns(hub.id) else { return visit }
        guard let shadow = domain.hubs[hub.id] else {
          fail("hub \(name(hub.id)) has no shadow")
          return visit
        }
        guard ref.stamp == shadow.stamp, ref.seal == Shadow.seal(hub.id, shadow.stamp) else {
          fail("hub \(name(hub.id)) has stamp \(ref.stamp), should be \(shadow.stamp)")
          return visit
        }
        visit.hub = hub
        follow(ref, shadow, domain, &node, &hub)
      } else {
        if node.id != 0 || hub.id != 0 { fail("nil where \(name(node.id | hub.id)) should be") }
        return visit
      }
    }
    return visit
  }

  private func arrive(_ found: Int, _ wanted: Int) -> Bool {
    if found == wanted { return true }
    fail("found \(name(found)) where \(name(wanted)) should be")
    return false
  }

  /// From a hub to one of the objects that it refers to.
  private func follow(
    _ ref: HeapRef<Shadow.Hub>, _ shadow: ShadowHub, _ domain: ShadowDomain,
    _ node: inout NodePick, _ hub: inout HubPick
  ) {
    hub = (nil, 0)
    switch random.below(6) {
    case 0: node = (ref.inner.first, shadow.first)
    case 1: hub = (ref.inner.second, shadow.second)
    case 2: node = (ref.slots[1], shadow.slots[1])
    case 3:
      switch (ref.choice, shadow.choice) {
      case (.node(let found), .node(let wanted)): node = (found, wanted)
      case (.hub(let found), .hub(let wanted)): hub = (found, wanted)
      case (.number(let found), .number(let wanted)) where found == wanted: break
      case (.nothing, .nothing): break
      default: fail("choice of hub \(name(ref.id)) is not \(shadow.choice)")
      }
    case 4:
      guard let list = ref.list, let wanted = domain.lists[shadow.list] else { break }
      let index = random.below(list.count)
      let entry = list[index]
      if entry.tag != wanted[index].tag { fail("tag \(index) of a list is wrong") }
      node = (entry.node, wanted[index].node)
    default: checkPart(ref, shadow)
    }
  }

  private func checkPart(_ ref: HeapRef<Shadow.Hub>, _ shadow: ShadowHub) {
    if let leaf = ref.leaf, leaf.id != shadow.leaf || !leaf.pointee.isIntact {
      fail("the leaf of hub \(name(ref.id)) is damaged")
    }
    if let tiny = ref.tiny, !tiny.pointee.isIntact {
      fail("the tiny value of hub \(name(ref.id)) is damaged")
    }
    if let text = ref.text, text.count < 100, !Shadow.isIntact(text, shadow.text) {
      fail("the text of hub \(name(ref.id)) is damaged")
    }
    if let bytes = ref.bytes, bytes.count < 100, !Shadow.isIntact(bytes, shadow.bytes) {
      fail("the bytes of hub \(name(ref.id)) are damaged")
    }
  }
}
