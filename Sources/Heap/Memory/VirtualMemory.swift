// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Virtual memory: the only file that talks to the system about it.
//
// A range goes through three states. `reserve` takes addresses and nothing else (no
// access, not counted against any limit on memory); `commit` makes part of them readable
// and writable, zero on first touch; `discard` gives the pages behind them back and keeps
// the addresses (the next touch finds zeroes). `release` ends a reservation.
//
// Failure is an errno and leaves no trace: a partial reservation is unmapped again. Every
// call goes through `attempt`, where a test can make the nth one fail.

internal import Glibc
internal import Synchronization

/// What the system said when it refused memory.
package struct SystemFailure: Error, Hashable, Sendable {
  package let operation: String
  package let code: Int32

  package init(operation: String, code: Int32) {
    self.operation = operation
    self.code = code
  }

  /// Whether the same call may succeed at another time.
  package var isTemporary: Bool { [EAGAIN, EBUSY, ENOMEM].contains(code) }
}

/// Reserving, committing and returning address ranges.
package enum VirtualMemory {
  /// The system's own page size in bytes.
  package static let systemPageSize = Int(sysconf(Int32(_SC_PAGESIZE)))

  /// Bytes of memory that the machine has.
  package static let physicalMemory = Int(sysconf(Int32(_SC_PHYS_PAGES))) * systemPageSize

  // MARK: - Ranges

  /// Reserves `size` bytes at a multiple of `alignment` (a power of two), at `hint` if those
  /// addresses are free, else anywhere below the end of the 48-bit space.
  package static func reserve(
    size: Int, alignment: Int, hint: UInt? = nil
  ) throws(SystemFailure) -> UInt {
    require(size > 0 && size % systemPageSize == 0, "\(size) bytes are not a number of pages")
    if let hint, let address = try? map(size: size, at: hint) {
      // Not at the hint if somebody has those addresses. That is as good, if it is aligned.
      if address & UInt(alignment - 1) == 0 { return address }
      release(address, size: size)
    }
    // Over-reserve by the alignment and cut off both ends.
    let (padded, overflow) = size.addingReportingOverflow(alignment)
    guard !overflow else { throw SystemFailure(operation: "mmap", code: ENOMEM) }
    let start = try map(size: padded, at: 0)
    let address = start.aligned(up: UInt(alignment))
    if address > start { release(start, size: Int(address - start)) }
    let end = start + UInt(padded)
    let used = address + UInt(size)
    if end > used { release(used, size: Int(end - used)) }
    guard used <= 1 << Geometry.addressBits else {
      release(address, size: size)
      throw SystemFailure(operation: "mmap", code: ENOMEM)
    }
    return address
  }

  /// Makes a reserved range readable and writable. Committing twice does no harm.
  package static func commit(_ address: UInt, size: Int) throws(SystemFailure) {
    try attempt("mprotect") {
      unsafe mprotect(pointer(address), size, PROT_READ | PROT_WRITE)
    }
  }

  /// Returns the memory of a committed range to the system; it reads as zero afterwards.
  package static func discard(_ address: UInt, size: Int) throws(SystemFailure) {
    try attempt("madvise") { unsafe madvise(pointer(address), size, MADV_DONTNEED) }
  }

  /// Ends a reservation, or a part of one.
  package static func release(_ address: UInt, size: Int) {
    assert(!LockRank.pageHeap.isHeld, "a system call is made under the page heap's lock")
    let result = unsafe munmap(pointer(address), size)
    require(result == 0, "munmap of a range that the heap reserved failed: errno \(errno)")
  }

  /// Asks for (`true`) or forbids (`false`) huge pages in a range. Advice: a kernel without
  /// them refuses, and nothing is lost.
  package static func adviseHugePages(_ address: UInt, size: Int, wanted: Bool) {
    assert(!LockRank.pageHeap.isHeld, "a system call is made under the page heap's lock")
    _ = unsafe madvise(pointer(address), size, wanted ? MADV_HUGEPAGE : MADV_NOHUGEPAGE)
  }

  // MARK: - Huge pages

  /// Whether the process may turn its memory into huge pages of `HugeRange.size` bytes: the system can,
  /// and nobody has forbidden huge pages altogether. As of the first look.
  package static let canMakeHugePages: Bool = {
    let folder = "/sys/kernel/mm/transparent_hugepage/"
    // The mode in force is in brackets. The advice would be followed in spite of it.
    guard let mode = text(of: folder + "enabled"), !mode.contains("[never]"),
      let size = text(of: folder + "hpage_pmd_size"),
      Int(size.filter(\.isNumber)) == HugeRange.size,
      let status = text(of: "/proc/self/status"), !status.contains("THP_enabled:\t0")
    else { return false }
    // Of no bytes: a kernel that does not know the advice says so first.
    return madvise(nil, 0, collapseAdvice) == 0
  }()

  /// MADV_COLLAPSE (Linux 6.1) and MADV_POPULATE_WRITE (5.14): not all headers have them.
  private static var collapseAdvice: Int32 { 25 }
  private static var populateAdvice: Int32 { 23 }

  /// Copies what a committed range holds into a huge page. A thread that touches the range meanwhile
  /// waits, and so does one that touches any memory of the process for the first time.
  package static func collapse(_ range: HugeRange) throws(SystemFailure) {
    adviseHugePages(range.address, size: HugeRange.size, wanted: true)
    try attempt("madvise") {
      unsafe madvise(pointer(range.address), HugeRange.size, collapseAdvice)
    }
  }

  /// Puts memory behind a committed range: a huge page if there is one to be had, or else small ones.
  ///
  /// - Precondition: nobody else uses the range.
  package static func populate(_ range: HugeRange) throws(SystemFailure) {
    adviseHugePages(range.address, size: HugeRange.size, wanted: true)
    // Touched first. While the advice waits for a huge page, no thread of the process can map
    // memory; while a touch does, they can.
    unsafe pointer(range.address).storeBytes(of: 0, as: UInt.self)
    try attempt("madvise") {
      unsafe madvise(pointer(range.address), HugeRange.size, populateAdvice)
    }
  }

  /// What a small file of the system says, its first 4 KiB; nil: it is not there.
  private static func text(of path: String) -> String? {
    let file = unsafe open(path, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { return nil }
    defer { close(file) }
    return unsafe withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 1) { buffer in
      let count = unsafe read(file, buffer.baseAddress, buffer.count)
      guard count >= 0 else { return nil }
      return unsafe String(decoding: buffer.prefix(count), as: UTF8.self)
    }
  }

  private static func map(size: Int, at hint: UInt) throws(SystemFailure) -> UInt {
    var result: UInt = 0
    try attempt("mmap") {
      let mapped = unsafe mmap(
        UnsafeMutableRawPointer(bitPattern: hint), size, PROT_NONE,
        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
      result = UInt(bitPattern: mapped)
      return unsafe mapped == MAP_FAILED ? -1 : 0
    }
    return result
  }

  private static func pointer(_ address: UInt) -> UnsafeMutableRawPointer {
    // SAFETY: an address that `map` returned, never zero.
    unsafe UnsafeMutableRawPointer(bitPattern: address).unsafelyUnwrapped
  }

  // MARK: - Fault injection

  /// Calls until the one that fails, counting down; 0: none does. For tests.
  private static let callsUntilFailure = Atomic<Int>(0)

  /// Makes the `n`th system call from now on fail with ENOMEM (1: the next one); 0 ends it.
  package static func failCall(in n: Int) { callsUntilFailure.store(n, ordering: .relaxed) }

  private static func attempt(
    _ operation: String, _ call: () -> Int32
  ) throws(SystemFailure) {
    assert(!LockRank.pageHeap.isHeld, "a system call is made under the page heap's lock")
    // Relaxed: a test sets it before it starts what is to fail.
    if callsUntilFailure.load(ordering: .relaxed) > 0,
      callsUntilFailure.subtract(1, ordering: .relaxed).newValue == 0
    {
      throw SystemFailure(operation: operation, code: ENOMEM)
    }
    guard call() == 0 else { throw SystemFailure(operation: operation, code: errno) }
  }
}
