// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Virtual memory against the system itself. Hints are places that no system puts anything
// at by itself, one for each test. What counts failures runs in a process of its own, because
// fault injection is process-wide; there a failed precondition is the failed expectation.

import Foundation
import Heap
import Testing

@Suite("Virtual memory")
struct VirtualMemoryTests {
  private static let page = VirtualMemory.systemPageSize

  // MARK: - Reserving

  @Test(
    "a reservation is aligned as asked and lies in the 48-bit space",
    arguments: [4096, 1 << 16, 1 << 21, 1 << 26, 1 << 32])
  func alignment(_ alignment: Int) throws {
    for size in [Self.page, 3 * Self.page, 1 << 26] {
      let address = try VirtualMemory.reserve(size: size, alignment: max(alignment, Self.page))
      defer { VirtualMemory.release(address, size: size) }
      #expect(address % UInt(alignment) == 0)
      #expect(address > 0 && address + UInt(size) <= 1 << 48)
    }
  }

  @Test("what was cut off around an aligned reservation is not kept")
  func noPadding() async {
    await #expect(processExitsWith: .success) {
      // With its padding, each takes 1 TiB of 128 at most: one of them would fail.
      for _ in 0..<200 {
        let address = try VirtualMemory.reserve(size: 1 << 20, alignment: 1 << 40)
        precondition(address % (1 << 40) == 0)
        VirtualMemory.release(address, size: 1 << 20)
      }
    }
  }

  @Test("a free hint is where the reservation goes")
  func hint() throws {
    let hint: UInt = 0x5800_0000_0000
    let address = try VirtualMemory.reserve(size: 1 << 26, alignment: 1 << 26, hint: hint)
    defer { VirtualMemory.release(address, size: 1 << 26) }
    #expect(address == hint)
  }

  @Test("a taken hint, or a partly taken one, is no failure: the reservation goes elsewhere")
  func takenHint() throws {
    let size = 1 << 26
    let hint: UInt = 0x5810_0000_0000
    let first = try VirtualMemory.reserve(size: size, alignment: size, hint: hint)
    defer { VirtualMemory.release(first, size: size) }
    #expect(first == hint)
    let second = try VirtualMemory.reserve(size: size, alignment: size, hint: hint)
    defer { VirtualMemory.release(second, size: size) }
    // The first half of what this one wants is free.
    let third = try VirtualMemory.reserve(size: 2 * size, alignment: size, hint: hint - UInt(size))
    defer { VirtualMemory.release(third, size: 2 * size) }
    #expect(second % UInt(size) == 0 && third % UInt(size) == 0)
    let ranges = [
      first..<first + UInt(size), second..<second + UInt(size), third..<third + UInt(2 * size),
    ]
    for (index, range) in ranges.enumerated() {
      for other in ranges[(index + 1)...] { #expect(!range.overlaps(other)) }
    }
  }

  @Test("an end of a reservation can be released by itself, and reserved again")
  func partialRelease() throws {
    let (size, hint) = (1 << 26, UInt(0x5820_0000_0000))
    let address = try VirtualMemory.reserve(size: 2 * size, alignment: size, hint: hint)
    #expect(address == hint)
    VirtualMemory.release(address + UInt(size), size: size)
    let again = try VirtualMemory.reserve(size: size, alignment: size, hint: hint + UInt(size))
    #expect(again == hint + UInt(size))
    VirtualMemory.release(address, size: 2 * size)
  }

  @Test("more than there is, is refused with an errno")
  func tooMuch() {
    for size in [1 << 48, 1 << 62, Int.max - 4095] {
      #expect(throws: SystemFailure.self) {
        _ = try VirtualMemory.reserve(size: size, alignment: 1 << 26)
      }
    }
  }

  // MARK: - Committing and giving back

  @Test("committed memory is zero, keeps what is written, and is zero again after a discard")
  func discard() throws {
    let size = 16 * Self.page
    let address = try VirtualMemory.reserve(size: size, alignment: Self.page)
    defer { VirtualMemory.release(address, size: size) }
    try VirtualMemory.commit(address, size: size)
    let words = size / 8
    // SAFETY: committed above, released when the test ends.
    let memory = unsafe UnsafeMutablePointer<UInt>(bitPattern: address)!
    for word in 0..<words { #expect(unsafe memory[word] == 0) }
    for word in 0..<words { unsafe memory[word] = UInt(word) | 1 }
    // Committing again changes nothing.
    try VirtualMemory.commit(address, size: size)
    for word in 0..<words { #expect(unsafe memory[word] == UInt(word) | 1) }
    // A part: its neighbours keep theirs.
    try VirtualMemory.discard(address + UInt(4 * Self.page), size: 2 * Self.page)
    for word in 0..<words {
      let page = word * 8 / Self.page
      #expect(unsafe memory[word] == (page == 4 || page == 5 ? 0 : UInt(word) | 1))
    }
    // Discarded is still committed.
    unsafe memory[words / 3] = 7
    #expect(unsafe memory[words / 3] == 7)
  }

  @Test("reserved memory cannot be read before it is committed")
  func noAccess() async {
    await #expect(processExitsWith: .signal(SIGSEGV)) {
      let size = VirtualMemory.systemPageSize * 2
      let address = try VirtualMemory.reserve(
        size: size, alignment: VirtualMemory.systemPageSize)
      try VirtualMemory.commit(address, size: size / 2)
      // SAFETY: none: the second page is what must not be readable.
      let second = unsafe UnsafePointer<UInt>(bitPattern: address + UInt(size / 2))!
      print(unsafe second.pointee)
    }
  }

  @Test("committing what was never reserved is refused")
  func commitNothing() throws {
    #expect(throws: SystemFailure.self) {
      try VirtualMemory.commit(0x5830_0000_0000, size: 1 << 20)
    }
  }

  @Test("advice about huge pages reaches a kernel that has them, and does no harm on others")
  func hugePages() throws {
    let size = 1 << 22
    let address = try VirtualMemory.reserve(size: size, alignment: size)
    defer { VirtualMemory.release(address, size: size) }
    try VirtualMemory.commit(address, size: size)
    let hasHugePages = FileManager.default.fileExists(atPath: "/sys/kernel/mm/transparent_hugepage")
    VirtualMemory.adviseHugePages(address, size: size, wanted: true)
    #expect(try mappingFlags(at: address).contains("hg") == hasHugePages)
    VirtualMemory.adviseHugePages(address, size: size, wanted: false)
    #expect(try mappingFlags(at: address).contains("nh") == hasHugePages)
    write(1, at: address)
    #expect(word(at: address) == 1)
  }

  // MARK: - Failing

  @Test("the nth call fails with ENOMEM, and only that one")
  func faults() async {
    await #expect(processExitsWith: .success) {
      let size = 1 << 20
      VirtualMemory.failCall(in: 3)
      let address = try VirtualMemory.reserve(size: size, alignment: size)  // 1
      try VirtualMemory.commit(address, size: size)  // 2
      do throws(SystemFailure) {
        try VirtualMemory.discard(address, size: size)  // 3
        preconditionFailure("the third call did not fail")
      } catch {
        precondition(error.operation == "madvise" && error.code == 12)
      }
      for _ in 0..<10 { try VirtualMemory.discard(address, size: size) }
      VirtualMemory.failCall(in: 1)
      do throws(SystemFailure) {
        try VirtualMemory.commit(address, size: size)
        preconditionFailure("the next call did not fail")
      } catch {
        precondition(error.operation == "mprotect" && error.code == 12)
      }
      VirtualMemory.failCall(in: 2)
      VirtualMemory.failCall(in: 0)
      for _ in 0..<10 { try VirtualMemory.commit(address, size: size) }
      VirtualMemory.release(address, size: size)
    }
  }

  @Test("a reservation that fails keeps no addresses, with and without a hint")
  func failedReservation() async {
    await #expect(processExitsWith: .success) {
      let size = 1 << 40
      for round in 0..<400 {
        // Without a hint the only call fails. With one, a failure of the first call is no
        // failure at all: the second succeeds.
        VirtualMemory.failCall(in: 1)
        if round % 2 == 0 {
          if let address = try? VirtualMemory.reserve(size: size, alignment: size) {
            preconditionFailure("a failed call gave \(address)")
          }
        } else {
          let address = try VirtualMemory.reserve(
            size: size, alignment: size, hint: 0x5840_0000_0000)
          precondition(address % UInt(size) == 0)
          VirtualMemory.release(address, size: size)
        }
      }
      // The hint is taken and what the system has instead is not aligned; then the second
      // call fails.
      let taken = try VirtualMemory.reserve(
        size: size, alignment: VirtualMemory.systemPageSize, hint: 0x5840_0000_0000)
      let before = try addressSpace()
      for _ in 0..<20 {
        VirtualMemory.failCall(in: 2)
        if let address = try? VirtualMemory.reserve(size: size, alignment: size, hint: taken) {
          // Aligned by chance.
          VirtualMemory.failCall(in: 0)
          VirtualMemory.release(address, size: size)
        }
      }
      let after = try addressSpace()
      precondition(after - before < size, "\(after - before) bytes of addresses were kept")
    }
  }
}

/// What the kernel says of the mapping that holds an address (VmFlags in /proc/self/smaps).
func mappingFlags(at address: UInt) throws -> [Substring] {
  try mappingLine("VmFlags:", at: address)
}

/// The words of a line of /proc/self/smaps about the mapping that holds an address.
func mappingLine(_ name: Substring, at address: UInt) throws -> [Substring] {
  // To its end: the file says that it has no bytes.
  let file = try #require(FileHandle(forReadingAtPath: "/proc/self/smaps"))
  let text = String(decoding: try file.readToEnd() ?? Data(), as: UTF8.self)
  var isHere = false
  for line in text.split(separator: "\n") {
    let words = line.split(separator: " ")
    if let range = words.first?.split(separator: "-"), range.count == 2,
      let start = UInt(range[0], radix: 16), let end = UInt(range[1], radix: 16)
    {
      isHere = start <= address && address < end
    }
    if isHere, words.first == name { return Array(words.dropFirst()) }
  }
  Issue.record("no mapping holds \(String(address, radix: 16))")
  return []
}
