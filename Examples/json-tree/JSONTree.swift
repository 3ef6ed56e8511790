// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// json-tree: reads a JSON document into heap objects and says what is in it.
//
// A program as one would write it: a real input, many small objects of different types and sizes,
// text and numbers, and nesting as deep as the document wants it. Nothing in it is released; what
// parsing and walking leave behind is the collector's. Read the files in this order:
//
//     Tree.swift          what the document becomes
//     Source, Lexer…      bytes to tokens; nothing of this is in the heap
//     HeapStack, KeyTable, TreeBuilder   tokens to tree
//     Summary             the walk over the tree
//
// Any valid document of RFC 8259 is accepted, in UTF-8, with or without a byte order mark; nothing
// else is. A malformed one ends with status 65 and one line on standard error:
//
//     json-tree: data.json:12:7: expected ',' or ']'
//
// `compare.py` in this folder prints the same summary by means of Python's json.

internal import Mutator
internal import ProgramSupport

/// The summary of a document and how long it took.
struct Report: Sendable {
  let summary: Summary
  let parseTime: Int
  let walkTime: Int
}

/// Builds the tree of a document and walks through it.
func summarize(_ source: Source, in mutator: HeapMutator) throws(SyntaxError) -> Report {
  let start = Moment.now
  var builder = TreeBuilder(source, in: mutator)
  let tree = try builder.build()
  let parsed = Moment.now
  let summary = Summary(of: tree, in: mutator)
  return Report(summary: summary, parseTime: parsed - start, walkTime: parsed.elapsed)
}

@main
enum JSONTree {
  static func main() {
    let program = Program(
      "json-tree", "Reads a JSON document into heap objects and counts what is in it.",
      parameters: [.path("FILE", "the document, in UTF-8")])
    program.main { heap, arguments in
      let path = arguments.text("FILE")
      let file = try FileBytes(reading: path)
      let report = try unsafe file.withBytes { bytes in
        let source = unsafe Source(bytes)
        do throws(SyntaxError) {
          return try heap.withMutator { mutator throws(SyntaxError) in
            try summarize(source, in: mutator)
          }
        } catch {
          let (line, column) = source.position(of: error.offset)
          throw ProgramFailure(
            .malformedInput, "\(path):\(line):\(column): \(error.reason)")
        }
      }
      let wall = report.parseTime + report.walkTime
      return Outcome(
        lines: report.summary.lines, wall: wall,
        extra: [
          "bytes": Double(file.count),
          "parse_s": Double(report.parseTime) / 1e9,
          "walk_s": Double(report.walkTime) / 1e9,
          "parse_mib_per_s": Double(file.count) * 1e9 / Double(report.parseTime) / 0x1p20,
        ])
    }
  }
}
