// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The bytes of a file, outside of the collected heap.
//
// A program that turns a document into heap objects should not let the document itself count as
// live heap: it would double the goal of the collector without being garbage that can be found.
// So the bytes are in one malloc'ed block that the owner frees. They are read and not mapped: a
// file that somebody truncates meanwhile would otherwise end the process by a signal, and pipes
// (`json-tree /dev/stdin`) cannot be mapped at all.
//
// The block is reserved at the size the system states and doubled when that was not enough:
// files in /proc state 0, pipes state nothing. Four bytes after the end are zero, which lets a
// reader look one byte ahead without a test.
//
// The block is freed with its owner; the buffer that `withBytes` lends out must not be kept.

internal import Glibc

/// A file could not be read.
public struct FileError: Error, CustomStringConvertible {
  /// The path as it was given.
  public let path: String
  /// What the system said.
  public let reason: String

  /// A sentence for the user.
  public var description: String { "cannot read \(path): \(reason)" }

  init(_ path: String) {
    self.path = path
    reason = unsafe String(cString: strerror(errno))
  }
}

/// The contents of a file.
@safe
public final class FileBytes {
  // Owner: this object. `count` bytes are the file's, `padding` more are zero.
  private var base: UnsafeMutableRawPointer
  private var capacity: Int

  /// How many bytes the file has.
  public private(set) var count = 0

  private static let padding = 4

  /// Reads a whole file: a regular one, a pipe or a device.
  public init(reading path: String) throws(FileError) {
    let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw FileError(path) }
    defer { close(descriptor) }

    var status = stat()
    guard unsafe fstat(descriptor, &status) == 0 else { throw FileError(path) }
    // One byte more than the stated size, so that the end is seen without growing.
    capacity = max(Int(status.st_size) + 1, 4096) + Self.padding
    guard let block = unsafe malloc(capacity) else { throw FileError(path) }
    unsafe base = block

    while true {
      if count + Self.padding == capacity {
        guard capacity <= Int.max / 2, let larger = unsafe realloc(base, capacity * 2) else {
          throw FileError(path)
        }
        unsafe base = larger
        capacity *= 2
      }
      // Linux reads 2 GiB at most at once; less is asked for than that.
      let room = min(capacity - Self.padding - count, 1 << 30)
      let got = unsafe read(descriptor, base + count, room)
      if got == 0 { break }
      if got > 0 {
        count += got
      } else if errno != EINTR {
        throw FileError(path)
      }
    }
    unsafe (base + count).initializeMemory(as: UInt8.self, repeating: 0, count: Self.padding)
  }

  deinit {
    unsafe free(base)
  }

  /// Lends the bytes to `body`.
  ///
  /// One byte past the end may be read; it is zero.
  public func withBytes<Result, Failure: Error>(
    _ body: (UnsafeBufferPointer<UInt8>) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    let bytes = unsafe base.assumingMemoryBound(to: UInt8.self)
    return try unsafe body(UnsafeBufferPointer(start: bytes, count: count))
  }
}
