// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The frame around every example and benchmark: from the command line to the exit status.
//
//     Program("name", "what it does", parameters: […]).main { heap, arguments in
//       …
//       return Outcome(checksum, wall: start.elapsed)
//     }
//
// `main` reads the arguments, makes a heap from the environment and the options, runs the body, and
// prints its outcome: the result on standard output, the line of figures on standard error. The
// figures are taken while the heap still exists; it is taken down before the process ends.
//
// Exit status, after sysexits.h:
//
//     0    done
//     64   the command line or the environment asks for something that is not there
//     65   the input is malformed
//     66   the input cannot be read
//     70   the heap failed: no memory, a type that cannot be laid out
//     74   the result could not be written
//
// A body that wants another end throws a `ProgramFailure`.

internal import Glibc
public import Mutator

/// An exit status that says what kind of thing went wrong.
public enum ExitStatus: Int32, Sendable {
  case success = 0
  /// The command line or the environment is wrong.
  case usage = 64
  case malformedInput = 65
  /// The input cannot be read.
  case noInput = 66
  case heapFailed = 70
  /// The result cannot be written.
  case outputFailed = 74
}

/// Ends the program with a message on standard error.
public struct ProgramFailure: Error {
  let status: ExitStatus
  let message: String

  /// Says how the program ends, and why.
  public init(_ status: ExitStatus, _ message: String) {
    self.status = status
    self.message = message
  }
}

/// A program of this package.
public struct Program: Sendable {
  let name: String
  let summary: String
  let parameters: [Parameter]

  /// Describes a program; nothing happens yet.
  ///
  /// - Parameters:
  ///   - name: the name of the executable, and of the workload in the figures.
  ///   - summary: what it does, in one sentence for the usage text.
  ///   - parameters: its positional arguments, in order.
  public init(_ name: String, _ summary: String, parameters: [Parameter]) {
    self.name = name
    self.summary = summary
    self.parameters = parameters
  }

  /// Runs the program with the arguments of this process and ends the process.
  ///
  /// - Parameters:
  ///   - configure: changes what the environment and the options ask for, if the program needs that.
  ///   - body: the program.
  public func main(
    configuring configure: (inout HeapConfiguration, Arguments) -> Void = { _, _ in },
    _ body: (ManagedHeap, Arguments) throws -> Outcome
  ) -> Never {
    do {
      let arguments = try Arguments(
        parsing: Array(CommandLine.arguments.dropFirst()), for: parameters)
      if arguments.wantsHelp {
        print(usage)
      } else {
        try run(arguments, configure, body)
      }
      try finishOutput()
    } catch let error as UsageError {
      end(.usage, "\(error.message)\n\n\(usage)")
    } catch let error as ProgramFailure {
      end(error.status, error.message)
    } catch let error as FileError {
      end(.noInput, error.description)
    } catch HeapError.invalidConfiguration(let message) {
      end(.usage, message)
    } catch let error as HeapError {
      end(.heapFailed, error.description)
    } catch {
      end(.heapFailed, "\(error)")
    }
    exit(ExitStatus.success.rawValue)
  }

  private func run(
    _ arguments: Arguments, _ configure: (inout HeapConfiguration, Arguments) -> Void,
    _ body: (ManagedHeap, Arguments) throws -> Outcome
  ) throws {
    var configuration = arguments.configuration(named: name)
    configure(&configuration, arguments)
    let heap = try ManagedHeap(configuration)
    let outcome = try body(heap, arguments)
    for line in outcome.lines { print(line) }
    try finishOutput()
    StandardError.print(
      outcome.figuresLine(workload: name, statistics: heap.statistics) + "\n")
  }

  /// Sees to it that what was printed has arrived: a full disk shows only here.
  private func finishOutput() throws {
    if fflush(nil) != 0 {
      let reason = unsafe String(cString: strerror(errno))
      throw ProgramFailure(.outputFailed, "cannot write the result: \(reason)")
    }
  }

  private func end(_ status: ExitStatus, _ message: String) -> Never {
    StandardError.print("\(name): \(message)\n")
    exit(status.rawValue)
  }
}

// MARK: - Usage

extension Program {
  /// The text that `--help` prints.
  var usage: String {
    let synopsis = parameters.map { $0.isRequired ? $0.name : "[\($0.name)]" }
    var rows: [(String, String)] = parameters.map { parameter in
      let given = parameter.defaultText.map { " (\($0) when not given)" } ?? ""
      return (parameter.name, "\(parameter.help): \(parameter.accepted)\(given)")
    }
    rows += [
      ("--gc-percent N|off", "growth of the heap between collections, in percent"),
      ("--memory-limit SIZE", "soft limit on the heap's memory: 512MiB, 2GiB, bytes, off"),
      ("--trace", "one line a collection on standard error"),
      ("--help", "print this text"),
    ]
    let width = rows.map(\.0.count).max() ?? 0
    let table = rows.map { row in
      "  " + row.0 + String(repeating: " ", count: width - row.0.count + 2) + row.1
    }
    return """
      usage: \(([name] + synopsis).joined(separator: " ")) [options]

      \(summary)

      \(table.joined(separator: "\n"))
      """
  }
}

/// Standard error, unbuffered: what is written comes before anything that a trap says.
enum StandardError {
  static func print(_ text: String) {
    var rest = Array(text.utf8)[...]
    while !rest.isEmpty {
      let count = unsafe rest.withUnsafeBytes { bytes in
        unsafe write(STDERR_FILENO, bytes.baseAddress, bytes.count)
      }
      if count > 0 {
        rest = rest.dropFirst(count)
      } else if errno != EINTR {
        return
      }
    }
  }
}
