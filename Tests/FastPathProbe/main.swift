// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The fast paths, as a client compiles them.
//
// Each function has one operation in it and a plain symbol name, so that Scripts/check-fast-path.sh finds
// it in the release build's machine code and can count its instructions and its calls. They
// are called once, so that the linker keeps them and the program proves that they work.

import Mutator

struct Node: HeapObject {
  var left: HeapRef<Node>?
  var right: HeapRef<Node>?
}

struct Counter: HeapObject {
  var link: HeapRef<Counter>?
  var count = 0
}

@inline(never) @_silgen_name("probe_allocate")
func allocate(_ mutator: UInt, _ left: UInt, _ right: UInt) -> UInt {
  let mutator = unsafe unsafeBitCast(mutator, to: HeapMutator.self)
  let node = unsafe Node(
    left: unsafeBitCast(left, to: HeapRef<Node>?.self),
    right: unsafeBitCast(right, to: HeapRef<Node>?.self))
  return unsafe unsafeBitCast(mutator.allocate(node), to: UInt.self)
}

@inline(never) @_silgen_name("probe_store_reference")
func storeReference(_ node: UInt, _ other: UInt) {
  let node = unsafe unsafeBitCast(node, to: HeapRef<Node>.self)
  node.left = unsafe unsafeBitCast(other, to: HeapRef<Node>?.self)
}

@inline(never) @_silgen_name("probe_load_reference")
func loadReference(_ node: UInt) -> UInt {
  let node = unsafe unsafeBitCast(node, to: HeapRef<Node>.self)
  return unsafe unsafeBitCast(node.left, to: UInt.self)
}

@inline(never) @_silgen_name("probe_increment")
func increment(_ counter: UInt) {
  let counter = unsafe unsafeBitCast(counter, to: HeapRef<Counter>.self)
  counter.count &+= 1
}

@inline(never) @_silgen_name("probe_safepoint")
func safepoint(_ mutator: UInt) {
  unsafe unsafeBitCast(mutator, to: HeapMutator.self).safepoint()
}

@inline(never) @_silgen_name("probe_array_sum")
func arraySum(_ array: UInt) -> Int {
  let array = unsafe unsafeBitCast(array, to: HeapArray<Int>.self)
  var sum = 0
  for i in 0..<array.count { sum &+= array[i] }
  return sum
}

@inline(never) @_silgen_name("probe_allocate_array")
func allocateArray(_ mutator: UInt, _ count: Int) -> UInt {
  let mutator = unsafe unsafeBitCast(mutator, to: HeapMutator.self)
  let array = mutator.allocateArray(of: UInt8.self, count: count, repeating: 0)
  return unsafe unsafeBitCast(array, to: UInt.self)
}

@inline(never) @_silgen_name("probe_allocate_references")
func allocateReferences(_ mutator: UInt, _ value: UInt) -> UInt {
  let mutator = unsafe unsafeBitCast(mutator, to: HeapMutator.self)
  let value = unsafe unsafeBitCast(value, to: HeapRef<Node>?.self)
  let array = mutator.allocateArray(of: HeapRef<Node>?.self, count: 3, repeating: value)
  return unsafe unsafeBitCast(array, to: UInt.self)
}

@inline(never) @_silgen_name("probe_allocate_bytes")
func allocateBytes(_ mutator: UInt, _ bytes: UnsafeRawPointer, _ count: Int) -> UInt {
  let mutator = unsafe unsafeBitCast(mutator, to: HeapMutator.self)
  let bytes = unsafe UnsafeRawBufferPointer(start: bytes, count: count)
  return unsafe unsafeBitCast(mutator.allocateBytes(bytes), to: UInt.self)
}

@inline(never) @_silgen_name("probe_allocate_string")
func allocateString(_ mutator: UInt, _ text: String) -> UInt {
  let mutator = unsafe unsafeBitCast(mutator, to: HeapMutator.self)
  return unsafe unsafeBitCast(mutator.allocateString(text), to: UInt.self)
}

/// Two words, one of which is a reference.
struct Pair {
  var link: HeapRef<Node>?
  var number: Int
}

/// A word and a byte: the tag lies behind the payload.
enum Choice {
  case link(HeapRef<Node>)
  case number(Int)
  case nothing
}

/// Too much for registers: a plain store would be a memcpy.
struct Table {
  var slots = InlineArray<40, HeapRef<Node>?>(repeating: nil)
}

struct Wide: HeapObject {
  var pair = Pair(link: nil, number: 0)
  var choice = Choice.nothing
  var table = Table()
}

@inline(never) @_silgen_name("probe_store_pair")
func storePair(_ object: UInt, _ link: UInt, _ number: Int) {
  let object = unsafe unsafeBitCast(object, to: HeapRef<Wide>.self)
  object.pair = unsafe Pair(link: unsafeBitCast(link, to: HeapRef<Node>?.self), number: number)
}

@inline(never) @_silgen_name("probe_store_choice")
func storeChoice(_ object: UInt, _ link: UInt) {
  let object = unsafe unsafeBitCast(object, to: HeapRef<Wide>.self)
  object.choice = unsafe .link(unsafeBitCast(link, to: HeapRef<Node>.self))
}

@inline(never) @_silgen_name("probe_store_table")
func storeTable(_ object: UInt, _ link: UInt) {
  let object = unsafe unsafeBitCast(object, to: HeapRef<Wide>.self)
  let link = unsafe unsafeBitCast(link, to: HeapRef<Node>?.self)
  object.table = Table(slots: InlineArray(repeating: link))
}

@inline(never) @_silgen_name("probe_array_store")
func arrayStore(_ array: UInt, _ index: Int, _ value: UInt) {
  let array = unsafe unsafeBitCast(array, to: HeapArray<HeapRef<Node>?>.self)
  array[index] = unsafe unsafeBitCast(value, to: HeapRef<Node>?.self)
}

@inline(never) @_silgen_name("probe_store_element")
func storeElement(_ object: UInt, _ index: Int, _ link: UInt) {
  let object = unsafe unsafeBitCast(object, to: HeapRef<Wide>.self)
  object[\.table.slots, index] = unsafe unsafeBitCast(link, to: HeapRef<Node>?.self)
}

@inline(never) @_silgen_name("probe_load_element")
func loadElement(_ object: UInt, _ index: Int) -> UInt {
  let object = unsafe unsafeBitCast(object, to: HeapRef<Wide>.self)
  return unsafe unsafeBitCast(object[\.table.slots, index], to: UInt.self)
}

/// A variable of a dynamic language.
///
/// The value is not the first word: the code would be that of another probe, and the compiler would
/// keep one of the two.
struct Variable: HeapObject {
  var next: HeapRef<Variable>?
  var value = HeapValue.nil
}

@inline(never) @_silgen_name("probe_store_value")
func storeValue(_ variable: UInt, _ value: UInt) {
  let variable = unsafe unsafeBitCast(variable, to: HeapRef<Variable>.self)
  variable.value = unsafe unsafeBitCast(value, to: HeapValue.self)
}

@inline(never) @_silgen_name("probe_load_value")
func loadValue(_ variable: UInt) -> UInt {
  let variable = unsafe unsafeBitCast(variable, to: HeapRef<Variable>.self)
  return unsafe unsafeBitCast(variable.value, to: UInt.self)
}

/// The sum of two immediates, or nil.
@inline(never) @_silgen_name("probe_add_values")
func addValues(_ a: UInt, _ b: UInt) -> UInt {
  let (a, b) = unsafe (
    unsafeBitCast(a, to: HeapValue.self), unsafeBitCast(b, to: HeapValue.self)
  )
  if let a = a.immediate, let b = b.immediate, let sum = HeapValue(exactly: a + b) {
    return unsafe unsafeBitCast(sum, to: UInt.self)
  }
  return unsafe unsafeBitCast(HeapValue.nil, to: UInt.self)
}

@inline(never) @_silgen_name("probe_value_as")
func valueAs(_ value: UInt) -> UInt {
  let value = unsafe unsafeBitCast(value, to: HeapValue.self)
  return unsafe unsafeBitCast(value.as(Variable.self), to: UInt.self)
}

@inline(never) @_silgen_name("probe_value_array_store")
func valueArrayStore(_ array: UInt, _ index: Int, _ value: UInt) {
  let array = unsafe unsafeBitCast(array, to: HeapArray<HeapValue>.self)
  array[index + 1] = unsafe unsafeBitCast(value, to: HeapValue.self)
}

@inline(never) @_silgen_name("probe_box_double")
func boxDouble(_ mutator: UInt, _ number: Double) -> UInt {
  let mutator = unsafe unsafeBitCast(mutator, to: HeapMutator.self)
  return unsafe unsafeBitCast(HeapValue(mutator.allocate(Boxed(number: number))), to: UInt.self)
}

struct Boxed: HeapObject {
  var number: Double
}

@inline(never) @_silgen_name("probe_list_load")
func listLoad(_ list: UInt, _ index: Int) -> UInt {
  let list = unsafe unsafeBitCast(list, to: HeapList<HeapRef<Node>>.self)
  return unsafe unsafeBitCast(list[index], to: UInt.self)
}

@inline(never) @_silgen_name("probe_list_append")
func listAppend(_ mutator: UInt, _ list: UInt, _ value: UInt) {
  let mutator = unsafe unsafeBitCast(mutator, to: HeapMutator.self)
  let list = unsafe unsafeBitCast(list, to: HeapList<HeapRef<Node>>.self)
  list.append(unsafe unsafeBitCast(value, to: HeapRef<Node>.self), in: mutator)
}

@inline(never) @_silgen_name("probe_list_sum")
func listSum(_ list: UInt) -> Int {
  let list = unsafe unsafeBitCast(list, to: HeapList<Int>.self)
  var sum = 0
  for number in list { sum &+= number }
  return sum
}

@inline(never) @_silgen_name("probe_dictionary_find")
func dictionaryFind(_ dictionary: UInt, _ key: Int) -> UInt {
  let dictionary = unsafe unsafeBitCast(dictionary, to: HeapDictionary<Int, HeapRef<Node>>.self)
  return unsafe unsafeBitCast(dictionary[key], to: UInt.self)
}

/// A call frame.
struct Frame: HeapObject {
  var caller: HeapBuffer<Frame, HeapValue>?
  var pc = 0
  var node: HeapRef<Node>?
}

@inline(never) @_silgen_name("probe_allocate_buffer")
func allocateBuffer(_ mutator: UInt, _ caller: UInt) -> UInt {
  let mutator = unsafe unsafeBitCast(mutator, to: HeapMutator.self)
  let frame = unsafe Frame(caller: unsafeBitCast(caller, to: HeapBuffer<Frame, HeapValue>?.self))
  let buffer = mutator.allocateBuffer(frame, count: 4, repeating: HeapValue.nil)
  return unsafe unsafeBitCast(buffer, to: UInt.self)
}

@inline(never) @_silgen_name("probe_buffer_store")
func bufferStore(_ buffer: UInt, _ index: Int, _ value: UInt) {
  let buffer = unsafe unsafeBitCast(buffer, to: HeapBuffer<Frame, HeapValue>.self)
  buffer[index] = unsafe unsafeBitCast(value, to: HeapValue.self)
}

@inline(never) @_silgen_name("probe_buffer_load")
func bufferLoad(_ buffer: UInt, _ index: Int) -> UInt {
  let buffer = unsafe unsafeBitCast(buffer, to: HeapBuffer<Frame, HeapValue>.self)
  return unsafe unsafeBitCast(buffer[index], to: UInt.self)
}

@inline(never) @_silgen_name("probe_header_store")
func headerStore(_ buffer: UInt, _ node: UInt) {
  let buffer = unsafe unsafeBitCast(buffer, to: HeapBuffer<Frame, HeapValue>.self)
  buffer.node = unsafe unsafeBitCast(node, to: HeapRef<Node>?.self)
}

@inline(never) @_silgen_name("probe_header_increment")
func headerIncrement(_ buffer: UInt) {
  let buffer = unsafe unsafeBitCast(buffer, to: HeapBuffer<Frame, HeapValue>.self)
  buffer.pc &+= 1
}

@inline(never) @_silgen_name("probe_allocate_contents")
func allocateContents(_ mutator: UInt, _ a: UInt, _ b: UInt) -> UInt {
  let mutator = unsafe unsafeBitCast(mutator, to: HeapMutator.self)
  let (a, b) = unsafe (
    unsafeBitCast(a, to: HeapRef<Node>.self), unsafeBitCast(b, to: HeapRef<Node>.self)
  )
  return unsafe unsafeBitCast(mutator.allocateArray([a, b]), to: UInt.self)
}

let heap = try ManagedHeap()
let passed = heap.withMutator { mutator in
  let word = unsafe unsafeBitCast(mutator, to: UInt.self)
  var node: UInt = 0
  for _ in 0..<1000 { node = allocate(word, node, 0) }
  storeReference(node, 0)
  let counter = mutator.allocate(Counter())
  increment(unsafe unsafeBitCast(counter, to: UInt.self))
  safepoint(word)
  for count in 0..<1000 { _ = allocateArray(word, count) }
  for _ in 0..<1000 { _ = allocateReferences(word, node) }
  let text = "eleven text"
  let string = unsafe unsafeBitCast(allocateString(word, text), to: HeapString.self)
  let bytes = unsafe Array(text.utf8).withUnsafeBytes { source in
    let array = unsafe allocateBytes(word, source.baseAddress.unsafelyUnwrapped, source.count)
    return unsafe unsafeBitCast(array, to: HeapArray<UInt8>.self)
  }
  let wide = mutator.allocate(Wide())
  storePair(unsafe unsafeBitCast(wide, to: UInt.self), node, 7)
  storeChoice(unsafe unsafeBitCast(wide, to: UInt.self), node)
  storeTable(unsafe unsafeBitCast(wide, to: UInt.self), node)
  let numbers = mutator.allocateArray(of: Int.self, count: 3, repeating: 4)
  let nodes = mutator.allocateArray(of: HeapRef<Node>?.self, count: 3, repeating: nil)
  arrayStore(unsafe unsafeBitCast(nodes, to: UInt.self), 1, node)
  storeElement(unsafe unsafeBitCast(wide, to: UInt.self), 38, 0)
  let variable = unsafe unsafeBitCast(mutator.allocate(Variable()), to: UInt.self)
  let seven = unsafe unsafeBitCast(HeapValue(immediate: 7), to: UInt.self)
  storeValue(variable, seven)
  let values = mutator.allocateArray(of: HeapValue.self, count: 3, repeating: .nil)
  valueArrayStore(unsafe unsafeBitCast(values, to: UInt.self), 1, variable)
  let half = unsafe unsafeBitCast(boxDouble(word, 0.5), to: HeapValue.self)
  let sum = unsafe unsafeBitCast(addValues(seven, seven), to: HeapValue.self)
  let valuesAreRight =
    sum.immediate == 14 && loadValue(variable) == seven
    && valueAs(variable) == variable && valueAs(seven) == 0
    && values[2].is(Variable.self) && half.as(Boxed.self)?.number == 0.5
  let list = HeapList<HeapRef<Node>>(in: mutator)
  let counts = HeapList<Int>(in: mutator)
  let table = HeapDictionary<Int, HeapRef<Node>>(in: mutator)
  let listed = unsafe unsafeBitCast(node, to: HeapRef<Node>.self)
  for key in 0..<100 {
    listAppend(word, unsafe unsafeBitCast(list, to: UInt.self), node)
    counts.append(key, in: mutator)
    table.updateValue(listed, forKey: key, in: mutator)
  }
  guard listLoad(unsafe unsafeBitCast(list, to: UInt.self), 99) == node,
    listSum(unsafe unsafeBitCast(counts, to: UInt.self)) == 4950,
    dictionaryFind(unsafe unsafeBitCast(table, to: UInt.self), 99) == node,
    dictionaryFind(unsafe unsafeBitCast(table, to: UInt.self), 100) == 0
  else { return false }
  let frame = allocateBuffer(word, 0)
  for _ in 0..<1000 { _ = allocateBuffer(word, frame) }
  bufferStore(frame, 3, seven)
  headerStore(frame, node)
  headerIncrement(frame)
  let buffer = unsafe unsafeBitCast(frame, to: HeapBuffer<Frame, HeapValue>.self)
  let pair = unsafe unsafeBitCast(
    allocateContents(word, node, node), to: HeapArray<HeapRef<Node>>.self)
  let buffersAreRight =
    bufferLoad(frame, 3) == seven && buffer.node == pair[0] && buffer.pc == 1 && pair[0] == pair[1]
    && buffer.caller == nil
  return valuesAreRight && buffersAreRight
    && loadElement(unsafe unsafeBitCast(wide, to: UInt.self), 38) == 0
    && loadElement(unsafe unsafeBitCast(wide, to: UInt.self), 37) == node
    && loadReference(node) == 0 && counter.count == 1 && nodes[1] != nil
    && wide.pair.link != nil && wide.table.slots[39] != nil && wide.pair.number == 7
    && string.isEqual(to: text)
    && bytes.elementsEqual(text.utf8)
    && arraySum(unsafe unsafeBitCast(numbers, to: UInt.self)) == 12
}
print(passed ? "the fast paths work" : "a fast path gave a wrong result")
