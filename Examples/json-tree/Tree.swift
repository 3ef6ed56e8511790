// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// What a document becomes in the heap.
//
//     Value        an enum of two words: null, a boolean, a number, or a reference to one of
//       string       HeapArray<UInt8>, the text in UTF-8 (see Lexer+Strings.swift)
//       array        HeapArray<Value>, exactly as long as the array
//       object       HeapRef<ObjectNode>
//     ObjectNode   two arrays of equal length: keys and values, in the document's order
//     Key          a member's name; one object for each different name of the document
//
// A number needs no object of its own: it sits in the element. What an element refers to depends on
// the case that it holds, so the collector takes its first word for what it may be, looks it up, and
// follows it if it is the address of an object. Numbers practically never are.
//
// The nodes are written once, when their container is complete, and not changed afterwards.

internal import Mutator

/// A JSON value.
enum Value {
  case null
  case boolean(Bool)
  case number(Double)
  case string(HeapArray<UInt8>)
  case array(HeapArray<Value>)
  case object(HeapRef<ObjectNode>)
}

/// The members of a JSON object.
struct ObjectNode: HeapObject {
  let keys: HeapArray<HeapRef<Key>?>
  let values: HeapArray<Value>
}

/// The name of members.
struct Key: HeapObject {
  let text: HeapArray<UInt8>
  /// The different names of a document are numbered from 0.
  let number: Int
}
