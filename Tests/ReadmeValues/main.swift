import Mutator

enum Value {
  case nothing
  case number(Double)
  case text(HeapString)
  case list(HeapArray<Value>)
}

struct Entry: HeapObject {
  var name: HeapString
  var value: Value
  var next: HeapRef<Entry>?
}

extension HeapRef<Entry> {
  /// Fields of the object need `self.` here.
  func find(_ name: String) -> HeapRef<Entry>? {
    self.name.isEqual(to: name) ? self : self.next?.find(name)
  }
}

/// The collector does not look into a class, so a class keeps a root.
final class Table: Sendable {
  let first: HeapRoot<HeapRef<Entry>?>
  init(in mutator: HeapMutator) { first = HeapRoot(nil, in: mutator) }

  func add(_ name: String, _ value: Value, in mutator: HeapMutator) {
    let name = mutator.allocateString(name)
    let next = first.get(in: mutator)
    first.set(mutator.allocate(Entry(name: name, value: value, next: next)), in: mutator)
  }
}

let heap = try ManagedHeap()
let table = heap.withMutator { Table(in: $0) }
heap.withMutator { mutator in
  let numbers = mutator.allocateArray(of: Value.self, count: 3, repeating: .number(0))
  for index in numbers.indices { numbers[index] = .number(Double(index) / 2) }
  table.add("numbers", .list(numbers), in: mutator)
  table.add("title", .text(mutator.allocateString("Grüße")), in: mutator)
}
heap.collect()
heap.withMutator { mutator in
  guard let entry = table.first.get(in: mutator)?.find("numbers") else { return }
  if case .list(let values) = entry.value { print(values.count, values[2]) }
  entry.value = .nothing  // a store with the write barrier, as any other
}
