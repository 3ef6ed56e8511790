// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// What a random program does to the graph. All under the lock of one domain.
//
// The cases that a collector can get wrong are common here: a reference is moved from an
// object to a local and cleared where it was (the overwritten value must be shaded); an object
// that only a local knows is stored into the freshest object that there is (the new value
// must be); and objects are made all the time while other threads' stacks are scanned.

import Mutator
import TestSupport

extension ShadowWorker {
  func change(_ domain: ShadowDomain, _ mutator: HeapMutator, _ locals: inout Locals) {
    let visit = walk(domain, mutator, locals)
    if run.hasFailed { return }
    guard let node = visit.node.ref else {
      let fresh = makeNode(domain, mutator, locals, visit)
      return keep(fresh, domain, mutator, &locals)
    }
    let shadow = visit.node.id
    switch random.below(100) {
    case 0..<12: keep(makeNode(domain, mutator, locals, visit), domain, mutator, &locals)
    case 12..<24:
      // Now and then a long chain: that is what makes the graph large.
      for _ in 0..<(random.oneIn(24) ? 150 : 1) { insert(node, shadow, domain, mutator, locals) }
    case 24..<30: keep(makeHub(domain, mutator, locals, visit), domain, mutator, &locals)
    case 30..<42: link(node, shadow, pickNode(domain, mutator, locals, visit), domain)
    case 42..<46:
      let hub = pickHub(locals, visit)
      if hub.ref == nil && !random.oneIn(4) { return }
      node.hub = hub.ref
      domain.nodes[shadow]?.hub = hub.id
    case 46..<50: replace(node, shadow, domain, mutator, locals, visit)
    case 50..<56: take(node, shadow, domain, &locals)
    case 56..<62: give(node, shadow, domain, &locals)
    case 62..<64: stamp(node, shadow, domain)
    case 64..<70: load(visit, &locals)
    case 70..<72: clear(&locals)
    case 72: changeRoot(domain, mutator, locals, visit)
    default:
      guard let hub = visit.hub.ref else {
        let place = random.below(ShadowDomain.rootCount)
        if domain.hubRoots[place].root == nil {
          setRoot(domain, place, makeHub(domain, mutator, locals, visit), mutator)
        }
        return
      }
      change(hub, visit, domain, mutator, &locals)
    }
  }

  // MARK: - Picking

  func localNode(_ locals: Locals) -> NodePick {
    let i = random.below(4)
    return (locals.nodes[i], frames[frames.count - 1].nodes[i])
  }

  private func localHub(_ locals: Locals) -> HubPick {
    let i = random.below(2)
    return (locals.hubs[i], frames[frames.count - 1].hubs[i])
  }

  /// Some node, or none.
  ///
  /// May allocate.
  private func pickNode(
    _ domain: ShadowDomain, _ mutator: HeapMutator, _ locals: Locals, _ visit: Visit
  ) -> NodePick {
    switch random.below(6) {
    case 0: (nil, 0)
    case 1, 2: localNode(locals)
    case 3: walk(domain, mutator, locals).node
    case 4: visit.node
    default: makeNode(domain, mutator, locals, visit)
    }
  }

  private func pickHub(_ locals: Locals, _ visit: Visit) -> HubPick {
    switch random.below(3) {
    case 0: (nil, 0)
    case 1: localHub(locals)
    default: visit.hub
    }
  }

  // MARK: - Making

  private func makeNode(
    _ domain: ShadowDomain, _ mutator: HeapMutator, _ locals: Locals, _ visit: Visit
  ) -> NodePick {
    let left = random.oneIn(2) ? localNode(locals) : visit.node
    let right: NodePick = random.oneIn(4) ? localNode(locals) : (nil, 0)
    let hub: HubPick = random.oneIn(4) ? pickHub(locals, visit) : (nil, 0)
    let id = domain.newID()
    let stamp = random.below(1 << 30)
    let node = mutator.allocate(
      Shadow.Node(id: id, stamp: stamp, left: left.ref, right: right.ref, hub: hub.ref))
    domain.nodes[id] = ShadowNode(stamp: stamp, left: left.id, right: right.id, hub: hub.id)
    return (node, id)
  }

  private func makeHub(
    _ domain: ShadowDomain, _ mutator: HeapMutator, _ locals: Locals, _ visit: Visit
  ) -> HubPick {
    let id = domain.newID()
    var value = Shadow.Hub(id: id, stamp: random.below(1 << 30))
    var shadow = ShadowHub(stamp: value.stamp)
    (value.inner.second, shadow.second) = (visit.hub.ref, visit.hub.id)
    // Parts that nothing but a local knows until the hub is made, and then only the hub: an
    // initialisation is no store, so no barrier helps them.
    switch random.below(5) {
    case 0, 1:
      shadow.tiny = domain.newID()
      value.tiny = mutator.allocate(Shadow.Tiny(id: shadow.tiny))
    case 2:
      shadow.bytes = domain.newID()
      value.bytes = mutator.allocateBytes(Shadow.Bytes(shadow.bytes))
    case 3 where random.oneIn(16):
      shadow.list = domain.newID()
      value.list = mutator.allocateArray(
        of: Shadow.Entry.self, count: 2500, repeating: Shadow.Entry(tag: 1, node: visit.node.ref))
      domain.lists[shadow.list] = Array(
        repeating: ShadowEntry(tag: 1, node: visit.node.id), count: 2500)
    default:
      shadow.leaf = domain.newID()
      value.leaf = mutator.allocate(Shadow.Leaf(id: shadow.leaf))
    }
    let hub = mutator.allocate(value)
    domain.hubs[id] = shadow
    return (hub, id)
  }

  /// Puts a fresh node where it can be found: a local, a root, a field.
  private func keep(
    _ node: NodePick, _ domain: ShadowDomain, _ mutator: HeapMutator, _ locals: inout Locals
  ) {
    switch random.below(32) {
    case 0..<12:
      let i = random.below(4)
      locals.nodes[i] = node.ref
      frames[frames.count - 1].nodes[i] = node.id
    case 12..<16: setRoot(domain, 0, node, mutator)
    case 16: setRoot(domain, random.below(ShadowDomain.rootCount), node, mutator)
    default:
      let visit = walk(domain, mutator, locals)
      if let place = visit.node.ref { link(place, visit.node.id, node, domain) }
    }
  }

  private func keep(
    _ hub: HubPick, _ domain: ShadowDomain, _ mutator: HeapMutator, _ locals: inout Locals
  ) {
    switch random.below(16) {
    case 0..<4:
      let i = random.below(2)
      locals.hubs[i] = hub.ref
      frames[frames.count - 1].hubs[i] = hub.id
    case 4:
      setRoot(domain, random.below(ShadowDomain.rootCount), hub, mutator)
    default:
      let visit = walk(domain, mutator, locals)
      if let place = visit.node.ref {
        place.hub = hub.ref
        domain.nodes[visit.node.id]?.hub = hub.id
      }
    }
  }

  // MARK: - Nodes

  /// Stores a node into a field of another, in one of the ways that there are.
  private func link(
    _ node: HeapRef<Shadow.Node>, _ id: Int, _ other: NodePick, _ domain: ShadowDomain
  ) {
    if other.ref == nil && !random.oneIn(4) { return }
    switch random.below(6) {
    case 0:
      node.left = other.ref
      domain.nodes[id]?.left = other.id
    case 1:
      node.right = other.ref
      domain.nodes[id]?.right = other.id
    case 2:
      node.store(\.left, other.ref, ordering: .releasing)
      domain.nodes[id]?.left = other.id
    case 3:
      let old = node.exchange(\.right, other.ref, ordering: .acquiringAndReleasing)
      let wanted = domain.nodes[id]?.right ?? 0
      if old?.id ?? 0 != wanted {
        fail("exchange found \(name(old?.id ?? 0)), not \(name(wanted))")
      }
      domain.nodes[id]?.right = other.id
    case 4:
      let expected = node.load(\.left, ordering: .acquiring)
      let (done, _) = node.compareExchange(
        \.left, expected: expected, desired: other.ref, ordering: .sequentiallyConsistent)
      if !done { fail("compareExchange failed without a reason") }
      domain.nodes[id]?.left = other.id
    default:
      let right = node.right
      node.right = node.left
      node.left = right
      if let shadow = domain.nodes[id] {
        domain.nodes[id]?.left = shadow.right
        domain.nodes[id]?.right = shadow.left
      }
    }
  }

  /// Puts a fresh node between a node and what that refers to.
  private func insert(
    _ node: HeapRef<Shadow.Node>, _ id: Int, _ domain: ShadowDomain, _ mutator: HeapMutator,
    _ locals: Locals
  ) {
    let other: NodePick = random.oneIn(2) ? localNode(locals) : (nil, 0)
    let fresh = domain.newID()
    let stamp = random.below(1 << 30)
    if random.oneIn(2) {
      let left = domain.nodes[id]?.left ?? 0
      node.left = mutator.allocate(
        Shadow.Node(id: fresh, stamp: stamp, left: node.left, right: other.ref, hub: nil))
      domain.nodes[fresh] = ShadowNode(stamp: stamp, left: left, right: other.id)
      domain.nodes[id]?.left = fresh
    } else {
      let right = domain.nodes[id]?.right ?? 0
      node.right = mutator.allocate(
        Shadow.Node(id: fresh, stamp: stamp, left: other.ref, right: node.right, hub: nil))
      domain.nodes[fresh] = ShadowNode(stamp: stamp, left: other.id, right: right)
      domain.nodes[id]?.right = fresh
    }
  }

  /// Assigns the whole struct.
  private func replace(
    _ node: HeapRef<Shadow.Node>, _ id: Int, _ domain: ShadowDomain, _ mutator: HeapMutator,
    _ locals: Locals, _ visit: Visit
  ) {
    let left = pickNode(domain, mutator, locals, visit)
    let right = localNode(locals)
    let hub = pickHub(locals, visit)
    let stamp = random.below(1 << 30)
    node.pointee = Shadow.Node(
      id: id, stamp: stamp, left: left.ref, right: right.ref, hub: hub.ref)
    domain.nodes[id] = ShadowNode(stamp: stamp, left: left.id, right: right.id, hub: hub.id)
  }

  /// Moves a reference out of a node into a local.
  private func take(
    _ node: HeapRef<Shadow.Node>, _ id: Int, _ domain: ShadowDomain, _ locals: inout Locals
  ) {
    let i = random.below(4)
    if random.oneIn(2) {
      locals.nodes[i] = node.left
      node.left = nil
      frames[frames.count - 1].nodes[i] = domain.nodes[id]?.left ?? 0
      domain.nodes[id]?.left = 0
    } else {
      locals.nodes[i] = node.exchange(\.right, nil, ordering: .acquiring)
      frames[frames.count - 1].nodes[i] = domain.nodes[id]?.right ?? 0
      domain.nodes[id]?.right = 0
    }
  }

  /// Moves a reference from a local into a node.
  private func give(
    _ node: HeapRef<Shadow.Node>, _ id: Int, _ domain: ShadowDomain, _ locals: inout Locals
  ) {
    let i = random.below(4)
    if locals.nodes[i] == nil { return }
    node.left = locals.nodes[i]
    locals.nodes[i] = nil
    domain.nodes[id]?.left = frames[frames.count - 1].nodes[i]
    frames[frames.count - 1].nodes[i] = 0
  }

  private func stamp(_ node: HeapRef<Shadow.Node>, _ id: Int, _ domain: ShadowDomain) {
    let stamp = random.below(1 << 30)
    node.stamp = stamp
    node.seal = Shadow.seal(id, stamp)
    domain.nodes[id]?.stamp = stamp
  }

  // MARK: - Locals and roots

  private func load(_ visit: Visit, _ locals: inout Locals) {
    if random.oneIn(2) {
      let i = random.below(4)
      locals.nodes[i] = visit.node.ref
      frames[frames.count - 1].nodes[i] = visit.node.id
    } else {
      let i = random.below(2)
      locals.hubs[i] = visit.hub.ref
      frames[frames.count - 1].hubs[i] = visit.hub.id
    }
  }

  private func clear(_ locals: inout Locals) {
    locals = Locals()
    frames[frames.count - 1] = Frame()
  }

  private func changeRoot(
    _ domain: ShadowDomain, _ mutator: HeapMutator, _ locals: Locals, _ visit: Visit
  ) {
    let place = random.below(ShadowDomain.rootCount)
    switch random.below(20) {
    case 0..<8: setRoot(domain, place, localNode(locals), mutator)
    case 8..<13: setRoot(domain, place, visit.node, mutator)
    case 13..<18: setRoot(domain, place, pickHub(locals, visit), mutator)
    case 18: setRoot(domain, place, (nil, 0) as NodePick, mutator)
    default: setRoot(domain, place, (nil, 0) as HubPick, mutator)
    }
  }

  private func setRoot(
    _ domain: ShadowDomain, _ place: Int, _ node: NodePick, _ mutator: HeapMutator
  ) {
    let old = domain.nodeRoots[place].root
    if let old, let ref = node.ref, random.oneIn(2) {
      old.set(ref, in: mutator)
      domain.nodeRoots[place].id = node.id
      return
    }
    domain.nodeRoots[place] = (node.ref.map { HeapRoot($0, in: mutator) }, node.id)
    if let old, random.oneIn(2) { run.undertaker.take(old) }
  }

  private func setRoot(
    _ domain: ShadowDomain, _ place: Int, _ hub: HubPick, _ mutator: HeapMutator
  ) {
    let old = domain.hubRoots[place].root
    if let old, let ref = hub.ref, random.oneIn(2) {
      old.set(ref, in: mutator)
      domain.hubRoots[place].id = hub.id
      return
    }
    domain.hubRoots[place] = (hub.ref.map { HeapRoot($0, in: mutator) }, hub.id)
    if let old, random.oneIn(2) { run.undertaker.take(old) }
  }
}
