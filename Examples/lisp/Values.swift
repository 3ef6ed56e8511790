// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// What a Lisp value is in the heap.
//
//     ()  and false      HeapValue.nil
//     12                 an immediate: no object
//     2.5                Real: an object of 8 bytes
//     name               Symbol: one object for each name, with the name's global value
//     (a . b)            Pair
//     "text"             HeapString
//     (lambda …)         Lambda: parameters, body, and the frame that it was made in
//     +                  Native: a function of the interpreter's own
//
// Code is data: a program is pairs and symbols. A call makes a frame, a buffer with a value for each
// parameter. A closure refers to the frame that it was made in, and a frame may hold that closure. So
// there are cycles at once, and nobody has to break them.

internal import Mutator

struct Pair: HeapObject {
  var first: HeapValue
  var rest: HeapValue
}

struct Real: HeapObject {
  let value: Double
}

struct Symbol: HeapObject {
  let name: HeapString
  /// The name's global value.
  var value = HeapValue.nil
  var isDefined = false
}

/// What a frame knows besides its values.
struct Scope: HeapObject {
  let names: HeapArray<HeapRef<Symbol>>
  /// The frame around it; nil: the globals.
  let outer: Frame?
}

/// The values of a call's parameters, in the order of their names.
typealias Frame = HeapBuffer<Scope, HeapValue>

struct Lambda: HeapObject {
  let parameters: HeapArray<HeapRef<Symbol>>
  let body: HeapValue
  let frame: Frame?
}

struct Native: HeapObject {
  /// Its place in `Natives.all`: a Swift function is no value of the heap's.
  let number: Int
}
