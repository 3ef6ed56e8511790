// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// lisp: a small Lisp whose values live in the heap.
//
// What an embedder of the heap needs to know for an interpreter is in here in a few hundred lines:
// values, frames, closures, a symbol table, roots, natives, and the depth of the stack. The chapter
// Documentation/EmbeddingAnInterpreter.md goes through them. Read the files in this order:
//
//     Values.swift        what a value is in the heap
//     Interpreter.swift   what lasts from one piece of code to the next
//     Evaluator.swift     evaluation
//     Natives.swift       functions that are written in Swift
//     Reader.swift        text to values, and back

internal import Mutator
internal import ProgramSupport

@main
enum Lisp {
  static func main() {
    let program = Program(
      "lisp", "Evaluates a program, and prints the value of its last expression.",
      parameters: [.path("FILE", "the program: Examples/lisp/programs has some")])
    program.main { heap, arguments in
      let file: FileBytes
      do throws(FileError) {
        file = try FileBytes(reading: arguments.text("FILE"))
      } catch {
        throw ProgramFailure(.noInput, error.description)
      }
      let text = unsafe file.withBytes { unsafe String(decoding: $0, as: UTF8.self) }
      let start = Moment.now
      do throws(LispError) {
        return Outcome(lines: [try Interpreter(heap).run(text)], wall: start.elapsed)
      } catch {
        throw ProgramFailure(.malformedInput, error.description)
      }
    }
  }
}
