// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// What a random program does to hubs: nested structs, inline arrays, enums, lists, and parts
// without references. All under the lock of one domain.
//
// Elements for `update(from:)` are collected in a Swift array, where no collector looks. That
// is sound here: each of them is in a local or can be reached in a domain whose lock is held,
// and nothing is allocated in the heap between.

import Mutator
import TestSupport

extension ShadowWorker {
  func change(
    _ hub: HeapRef<Shadow.Hub>, _ visit: Visit, _ domain: ShadowDomain, _ mutator: HeapMutator,
    _ locals: inout Locals
  ) {
    let id = visit.hub.id
    switch random.below(19) {
    case 16...: take(hub, id, domain, &locals)
    case 0, 1:
      // The whole nested struct.
      let first = localNode(locals)
      let mark = random.below(1 << 30)
      hub.inner = Shadow.Inner(first: first.ref, second: visit.hub.ref, mark: mark)
      domain.hubs[id]?.first = first.id
      domain.hubs[id]?.second = id
      domain.hubs[id]?.mark = mark
    case 2:
      hub.inner.first = visit.node.ref
      domain.hubs[id]?.first = visit.node.id
    case 3:
      hub.inner.second = nil
      domain.hubs[id]?.second = 0
    case 4, 5:
      let slot = random.below(3)
      let node: NodePick = random.oneIn(3) ? (nil, 0) : localNode(locals)
      hub.slots[slot] = node.ref
      domain.hubs[id]?.slots[slot] = node.id
    case 6: choose(hub, id, visit, domain, locals)
    case 7: replace(hub, id, visit, domain, locals)
    case 8, 9: changeParts(hub, id, domain, mutator)
    case 10:
      let stamp = random.below(1 << 30)
      hub.stamp = stamp
      hub.seal = Shadow.seal(id, stamp)
      domain.hubs[id]?.stamp = stamp
    case 11: makeList(hub, id, visit, domain, mutator)
    default: changeList(hub, id, visit, domain, mutator, locals)
    }
  }

  /// Moves references out of a hub into locals, and overwrites all of the value that held them.
  private func take(
    _ hub: HeapRef<Shadow.Hub>, _ id: Int, _ domain: ShadowDomain, _ locals: inout Locals
  ) {
    guard let shadow = domain.hubs[id] else { return }
    let i = random.below(4)
    let last = frames.count - 1
    switch random.below(4) {
    case 0:
      for slot in 0..<3 {
        locals.nodes[slot] = hub.slots[slot]
        frames[last].nodes[slot] = shadow.slots[slot]
      }
      hub.slots = InlineArray(repeating: nil)
      domain.hubs[id]?.slots = InlineArray(repeating: 0)
    case 1:
      locals.nodes[i] = hub.inner.first
      frames[last].nodes[i] = shadow.first
      hub.inner = Shadow.Inner()
      domain.hubs[id]?.first = 0
      domain.hubs[id]?.second = 0
      domain.hubs[id]?.mark = 0
    case 2:
      guard case .node(let node) = hub.choice, case .node(let wanted) = shadow.choice else {
        return
      }
      locals.nodes[i] = node
      frames[last].nodes[i] = wanted
      hub.choice = .number(id)
      domain.hubs[id]?.choice = .number(id)
    default:
      guard let list = hub.list, let entries = domain.lists[shadow.list], list.count < 100 else {
        return
      }
      let index = random.below(list.count)
      locals.nodes[i] = list[index].node
      frames[last].nodes[i] = entries[index].node
      if random.oneIn(2) {
        list.update(repeating: Shadow.Entry(tag: 3))
      } else {
        list.update(from: entries.map { _ in Shadow.Entry(tag: 3) })
      }
      domain.lists[shadow.list] = entries.map { _ in ShadowEntry(tag: 3, node: 0) }
    }
  }

  /// Another case of the enum.
  private func choose(
    _ hub: HeapRef<Shadow.Hub>, _ id: Int, _ visit: Visit, _ domain: ShadowDomain,
    _ locals: Locals
  ) {
    let number = random.below(1 << 30)
    let node = localNode(locals)
    switch random.below(4) {
    case 0:
      hub.choice = .nothing
      domain.hubs[id]?.choice = .nothing
    case 1:
      hub.choice = .number(number)
      domain.hubs[id]?.choice = .number(number)
    case 2:
      hub.choice = .hub(hub)
      domain.hubs[id]?.choice = .hub(id)
    default:
      guard let ref = node.ref else { return }
      hub.choice = .node(ref)
      domain.hubs[id]?.choice = .node(node.id)
    }
  }

  /// Assigns the whole struct, most of it emptied.
  private func replace(
    _ hub: HeapRef<Shadow.Hub>, _ id: Int, _ visit: Visit, _ domain: ShadowDomain,
    _ locals: Locals
  ) {
    guard let old = domain.hubs[id] else { return }
    var value = Shadow.Hub(id: id, stamp: random.below(1 << 30))
    var shadow = ShadowHub(stamp: value.stamp)
    let node = localNode(locals)
    value.slots = [node.ref, visit.node.ref, nil]
    shadow.slots = [node.id, visit.node.id, 0]
    (value.list, shadow.list) = (hub.list, old.list)
    (value.leaf, shadow.leaf) = (hub.leaf, old.leaf)
    hub.pointee = value
    domain.hubs[id] = shadow
  }

  /// New parts without references, or none.
  private func changeParts(
    _ hub: HeapRef<Shadow.Hub>, _ id: Int, _ domain: ShadowDomain, _ mutator: HeapMutator
  ) {
    let part = domain.newID()
    switch random.below(9) {
    case 0, 1:
      hub.text = mutator.allocateString(Shadow.text(part))
      domain.hubs[id]?.text = part
    case 2, 3:
      hub.bytes = mutator.allocateBytes(Shadow.Bytes(part))
      domain.hubs[id]?.bytes = part
    case 4, 5:
      hub.leaf = mutator.allocate(Shadow.Leaf(id: part))
      domain.hubs[id]?.leaf = part
    case 6, 7:
      hub.tiny = mutator.allocate(Shadow.Tiny(id: part))
      domain.hubs[id]?.tiny = part
    default:
      (hub.text, hub.bytes) = (nil, nil)
      (hub.leaf, hub.tiny) = (nil, nil)
      domain.hubs[id]?.text = 0
      domain.hubs[id]?.bytes = 0
      domain.hubs[id]?.leaf = 0
      domain.hubs[id]?.tiny = 0
    }
  }

  // MARK: - Lists

  private func makeList(
    _ hub: HeapRef<Shadow.Hub>, _ id: Int, _ visit: Visit, _ domain: ShadowDomain,
    _ mutator: HeapMutator
  ) {
    let list = domain.newID()
    // 2,500 elements are a large object; 10,000 are scanned in two pieces.
    let count = random.oneIn(300) ? (random.oneIn(4) ? 10_000 : 2500) : 1 + random.below(12)
    let tag = random.below(1 << 30)
    hub.list = mutator.allocateArray(
      of: Shadow.Entry.self, count: count,
      repeating: Shadow.Entry(tag: tag, node: visit.node.ref))
    domain.lists[list] = Array(
      repeating: ShadowEntry(tag: tag, node: visit.node.id), count: count)
    domain.hubs[id]?.list = list
  }

  private func changeList(
    _ hub: HeapRef<Shadow.Hub>, _ id: Int, _ visit: Visit, _ domain: ShadowDomain,
    _ mutator: HeapMutator, _ locals: Locals
  ) {
    guard let list = hub.list, let number = domain.hubs[id]?.list else { return }
    let count = list.count
    let start = random.below(count)
    let length = min(random.below(20), count - start)
    switch random.below(8) {
    case 0..<3:
      let node: NodePick = random.oneIn(3) ? (nil, 0) : localNode(locals)
      let tag = random.below(1 << 30)
      list[start] = Shadow.Entry(tag: tag, node: node.ref)
      domain.lists[number]?[start] = ShadowEntry(tag: tag, node: node.id)
    case 3:
      let tag = list[start].tag
      list[start].node = visit.node.ref
      domain.lists[number]?[start] = ShadowEntry(tag: tag, node: visit.node.id)
    case 4: update(list, number, start, length, visit, domain, locals)
    case 5:
      // Within the list; the two ranges may overlap.
      let target = random.below(count - length + 1)
      list.copy(range: start..<(start + length), to: target)
      copy(number, start..<(start + length), number, target, domain)
    case 6:
      let other = walk(domain, mutator, locals).hub
      guard let otherList = other.ref?.list, let otherNumber = domain.hubs[other.id]?.list,
        otherList.count >= length
      else { return }
      let target = random.below(otherList.count - length + 1)
      list.copy(range: start..<(start + length), to: otherList, at: target)
      copy(number, start..<(start + length), otherNumber, target, domain)
    default:
      guard count < 100 else { return }
      let node: NodePick = random.oneIn(2) ? (nil, 0) : localNode(locals)
      list.update(repeating: Shadow.Entry(tag: 7, node: node.ref))
      domain.lists[number] = Array(repeating: ShadowEntry(tag: 7, node: node.id), count: count)
    }
  }

  private func update(
    _ list: HeapArray<Shadow.Entry>, _ number: Int, _ start: Int, _ length: Int, _ visit: Visit,
    _ domain: ShadowDomain, _ locals: Locals
  ) {
    var entries: [Shadow.Entry] = []
    for index in 0..<length {
      let node = random.oneIn(3) ? visit.node : localNode(locals)
      let tag = random.below(1 << 30)
      entries.append(Shadow.Entry(tag: tag, node: node.ref))
      domain.lists[number]?[start + index] = ShadowEntry(tag: tag, node: node.id)
    }
    if random.oneIn(2) {
      list.update(from: entries, at: start)
    } else {
      list.update(from: entries.lazy.map { $0 }, at: start)
    }
  }

  private func copy(
    _ source: Int, _ range: Range<Int>, _ target: Int, _ start: Int, _ domain: ShadowDomain
  ) {
    guard let copied = domain.lists[source]?[range] else { return }
    domain.lists[target]?.replaceSubrange(start..<(start + range.count), with: Array(copied))
  }
}
