// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// What can go wrong at the public edge.
//
// Four things, told apart by who has to act: whoever set the heap up (a configuration that
// makes no sense), whoever wrote the type (a field that cannot be kept), whoever decides how
// much memory there is (a limit reached), and nobody in the program (the system refused).
// Mistakes in using the interface are not errors: they trap, with a message.

internal import Glibc

/// An error of a managed heap.
///
/// Its description says what to do about it.
public enum HeapError: Error, Hashable, Sendable {
  /// The heap cannot be set up as asked; names the setting, its value and what is accepted.
  case invalidConfiguration(String)

  /// The type cannot be kept in the heap; names the type, the field and an alternative.
  case unsupportedType(String)

  /// There was no room for `requested` bytes after a full collection. `limit` is the heap's
  /// hard limit in bytes, or nil when it was the system that had no more.
  case outOfMemory(requested: Int, limit: Int?)

  /// A system call failed with the given error number.
  case system(operation: String, errno: Int32)
}

extension HeapError: CustomStringConvertible {
  /// What went wrong, in a sentence that a person can act on.
  public var description: String {
    switch self {
    case .invalidConfiguration(let problem): "invalid heap configuration: \(problem)"
    case .unsupportedType(let problem): problem
    case .outOfMemory(let requested, let limit?):
      "out of memory: \(requested) bytes were requested, and the heap's hard limit of \(limit) "
        + "bytes leaves no room for them after a full collection; raise hardLimit, or let go of "
        + "objects"
    case .outOfMemory(let requested, nil):
      "out of memory: \(requested) bytes were requested, and the system has none to give after "
        + "a full collection; set memoryLimit or hardLimit below what the machine or container "
        + "allows"
    case .system(let operation, let code):
      "\(operation) failed: \(Self.systemMessage(code)) (errno \(code))"
    }
  }

  private static func systemMessage(_ code: Int32) -> String {
    // Not strerror: another thread may be calling it.
    var buffer = [CChar](repeating: 0, count: 128)
    guard unsafe strerror_r(code, &buffer, buffer.count) == 0 else { return "unknown error" }
    return String(decoding: buffer.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
  }
}
