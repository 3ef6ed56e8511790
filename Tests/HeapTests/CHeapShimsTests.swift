// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// What the C shims promise about threads, stacks and processes.

import CHeapShims
import Glibc
import Heap
import Synchronization
import TestSupport
import Testing

/// Swift does not offer `fork`, and threads of the parent are what these tests are about.
@_silgen_name("fork") private func fork() -> Int32

/// The bounds that the calling thread is told, and whether a local of it lies inside.
private func ownStack() -> (low: UInt, high: UInt, holdsLocals: Bool)? {
  var (low, high): (UInt, UInt) = (0, 0)
  guard unsafe heap_thread_stack(&low, &high) else { return nil }
  let pointer = heap_stack_pointer()
  return (low, high, low <= pointer && pointer < high)
}

@Suite("Stacks") struct StackShimTests {
  @Test("every thread is told the bounds of its own stack, each time the same")
  func threads() {
    let stacks = HeapLock([(low: UInt, high: UInt)](), rank: .records)
    let together = Rendezvous(4)
    onThreads(4) { _ in
      let first = ownStack()
      #expect(first?.holdsLocals == true)
      let second = ownStack()
      #expect(first?.low == second?.low && first?.high == second?.high)
      if let first { stacks.withLock { $0.append((first.low, first.high)) } }
      together.meet()  // All four stacks exist at the same time.
    }
    let sorted = stacks.withLock { $0.sorted { $0.low < $1.low } }
    #expect(sorted.count == 4)
    for (one, next) in zip(sorted, sorted.dropFirst()) { #expect(one.high <= next.low) }
  }

  @Test("a stack pointer is below the frames of the callers")
  func stackPointer() {
    @inline(never) func inner() -> UInt { heap_stack_pointer() }
    let outer = heap_stack_pointer()
    #expect(inner() < outer)
  }

  @Test("a word is not in a fake frame where there is no fake stack")
  func noFakeStack() {
    var (begin, end): (UInt, UInt) = (1, 2)
    #expect(unsafe !heap_fake_stack_frame(nil, heap_stack_pointer(), &begin, &end))
    #expect((begin, end) == (1, 2))
  }
}

@Suite("Threads of the heap") struct ThreadShimTests {
  @Test("a crash in a thread of the heap reaches the program's handler")
  func crash() async {
    await #expect(processExitsWith: .exitCode(41)) {
      var action = sigaction()
      unsafe action.__sigaction_handler.sa_handler = { _ in _exit(41) }
      unsafe sigaction(SIGSEGV, &action, nil)
      TestThread { _ = heap_load_word(16) }.join()
    }
  }

  @Test("a thread of the heap has the signals of the program blocked, and those of crashes open")
  func signals() {
    let thread = TestThread {
      var mask = sigset_t()
      unsafe pthread_sigmask(SIG_SETMASK, nil, &mask)
      for signal in [SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGFPE, SIGABRT] {
        #expect(unsafe sigismember(&mask, signal) == 0)
      }
      for signal in [SIGINT, SIGTERM, SIGHUP, SIGALRM, SIGUSR1, SIGCHLD, SIGPIPE, SIGPROF] {
        #expect(unsafe sigismember(&mask, signal) == 1)
      }
    }
    thread.join()
  }

  @Test("starting a thread of the heap leaves the starter's signal mask as it was")
  func starter() {
    var (open, before, now) = (sigset_t(), sigset_t(), sigset_t())
    unsafe sigemptyset(&open)
    unsafe pthread_sigmask(SIG_SETMASK, &open, &before)
    TestThread {}.join()
    unsafe pthread_sigmask(SIG_SETMASK, &before, &now)
    #expect(unsafe sigismember(&now, SIGUSR2) == 0)
    #expect(unsafe sigismember(&now, SIGSEGV) == 0)
  }
}

@Suite("The end of a thread") struct ThreadEndTests {
  /// What the process says when a thread ends while it has a mutator.
  private static let message = "a thread ended inside withMutator"

  @Test("a thread that ends with a mutator stops the process, and says so")
  func attached() async {
    let result = await #expect(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) {
      TestThread { unsafe heap_set_current(UnsafeMutableRawPointer(bitPattern: 64)) }.join()
    }
    let text = result?.message ?? ""
    #expect(text.contains(Self.message))
  }

  @Test("a thread whose mutator has gone ends in peace, however often it had one")
  func detached() async {
    await #expect(processExitsWith: .success) {
      TestThread {
        for _ in 0..<3 {
          unsafe heap_set_current(UnsafeMutableRawPointer(bitPattern: 64))
          unsafe heap_set_current(UnsafeMutableRawPointer(bitPattern: 128))
          heap_set_current(nil)
        }
      }.join()
    }
  }

  @Test("a mutator that a destructor of the thread leaves behind is found too")
  func inDestructor() async {
    let result = await #expect(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) {
      TestThread {
        // The heap's key first: its destructor runs before the other's.
        unsafe heap_set_current(UnsafeMutableRawPointer(bitPattern: 64))
        heap_set_current(nil)
        var key = pthread_key_t()
        unsafe pthread_key_create(&key) { _ in
          unsafe heap_set_current(UnsafeMutableRawPointer(bitPattern: 64))
        }
        unsafe pthread_setspecific(key, UnsafeRawPointer(bitPattern: 1))
      }.join()
    }
    let text = result?.message ?? ""
    #expect(text.contains(Self.message))
  }
}

@Suite("Forks") struct ForkTests {
  @Test("a child process is of the next generation, its parent of the same as before")
  func generations() async {
    await #expect(processExitsWith: .success) {
      let before = heap_fork_generation()
      let child = fork()
      if child == 0 {
        let inner = fork()
        if inner == 0 { _exit(heap_fork_generation() == before + 2 ? 0 : 1) }
        var status: Int32 = -1
        unsafe waitpid(inner, &status, 0)
        _exit(status == 0 && heap_fork_generation() == before + 1 ? 0 : 2)
      }
      var status: Int32 = -1
      unsafe waitpid(child, &status, 0)
      precondition(status == 0 && heap_fork_generation() == before)
    }
  }
}

@Suite("The system") struct SystemShimTests {
  @Test("an error number has the system's words, cut to what there is room for")
  func errorText() {
    unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: 128) { buffer in
      let start = buffer.baseAddress!
      unsafe heap_error_text(ENOMEM, start, 128)
      #expect(unsafe String(cString: start) == String(cString: strerror(ENOMEM)))
      unsafe heap_error_text(ENOMEM, start, 7)
      #expect(unsafe String(cString: start) == "Cannot")
    }
  }

  @Test("a variable of the environment is found, and one that is not set is not")
  func environment() {
    #expect(unsafe heap_environment("PATH").map { unsafe String(cString: $0) } != nil)
    #expect(unsafe heap_environment("HEAP_NO_SUCH_VARIABLE") == nil)
  }
  @Test("the bits of 64 bytes are counted, all of them and no others")
  func bitsOfLine() {
    var random = RandomNumbers("bitsOfLine")
    for round in 0..<100 {
      var words = (0..<10).map { _ in round == 0 ? UInt64.max : random.next() }
      let expected = words[1..<9].reduce(0) { $0 + $1.nonzeroBitCount }
      let count = unsafe words.withUnsafeMutableBytes {
        heap_count_bits_of_line(UInt(bitPattern: $0.baseAddress) + 8)
      }
      #expect(count == expected)
    }
  }
}
