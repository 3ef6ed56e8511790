// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The word that threads wait on: no wake is missed, no wait is for ever when a limit is given.

import CHeapShims
import Heap
import Synchronization
import TestSupport
import Testing

@Suite("Wait words")
struct WaitWordTests {
  @Test("a word begins at 0, is set, and adds up and down with wrapping")
  func values() {
    let word = WaitWord.make()
    defer { word.destroy() }
    #expect(word.value == 0)
    word.set(7)
    #expect(word.value == 7)
    #expect(word.add(3) == 10)
    #expect(word.add(-10) == 0)
    #expect(word.add(-1) == .max)
    #expect(word.add(1) == 0)
  }

  @Test("a stored value is seen, and whoever waits is woken by the one who stored it")
  func stored() {
    let word = WaitWord.make()
    let isAwake = Event()
    let waiter = TestThread {
      while word.value == 0 { word.wait(while: 0) }
      isAwake.happen()
    }
    word.store(1)
    #expect(word.value == 1)
    word.wakeAll()
    #expect(isAwake.wait())
    waiter.join()
    word.destroy()
  }

  @Test("waiting for a value that is gone already returns at once")
  func alreadyChanged() {
    let word = WaitWord.make()
    defer { word.destroy() }
    word.set(1)
    word.wait(while: 0)  // Would never return.
    #expect(word.value == 1)
  }

  @Test("a wait with a limit ends at the limit")
  func limit() {
    let word = WaitWord.make()
    defer { word.destroy() }
    let start = heap_now()
    word.wait(while: 0, atMost: 2_000_000)
    #expect(heap_now() - start < 10_000_000_000)
    #expect(word.value == 0)
  }

  @Test("setting the word wakes all who wait, a thousand times")
  func pingPong() {
    let (ping, pong) = (WaitWord.make(), WaitWord.make())
    let other = TestThread {
      for turn in 1...1000 as ClosedRange<UInt32> {
        while ping.value != turn { ping.wait(while: turn - 1) }
        pong.set(turn)
      }
    }
    for turn in 1...1000 as ClosedRange<UInt32> {
      ping.set(turn)
      while pong.value != turn { pong.wait(while: turn - 1) }
    }
    other.join()
    #expect(pong.value == 1000)
    ping.destroy()
    pong.destroy()
  }
}
