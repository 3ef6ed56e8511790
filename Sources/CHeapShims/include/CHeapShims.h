// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// What Swift cannot say, or says only with a call into a library.
//
//   barrier flag    the word that every reference store tests
//   arena index     the table from an address to its arena
//   threads         a thread's innermost mutator, and what happens when a thread ends
//   stacks          their bounds; calling a function with all registers stored
//   waiting         sleeping on a word; clocks; processors
//   memory          prefetching; reading a word that may change; finding bytes
//   system          the environment, the text of an error, standard error
//
// The flag and the index are process-wide because the machine forces it: a store has no time
// to find out which heap it is in. They are C because Swift reads a global through an accessor.
//
// What belongs to one operating system is the last part of CHeapShims.c. Another system is a
// branch there, and one in Sources/Heap/Memory/VirtualMemory.swift for the mapping of memory.

#ifndef C_HEAP_SHIMS_H
#define C_HEAP_SHIMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "HeapSizeClasses.h"

/// A function whose memory accesses no sanitizer looks at. (ThreadSanitizer looks at atomic ones
/// in any function but those with the second attribute.)
#define HEAP_UNCHECKED \
  __attribute__((no_sanitize("address", "thread"), disable_sanitizer_instrumentation))

/// A variable of this module that inlined code reads without a detour through a table of addresses:
/// on Linux, the heap and the code that is compiled against it end up in one program or library.
#ifdef __ELF__
#define HEAP_HIDDEN __attribute__((visibility("hidden")))
#else
#define HEAP_HIDDEN
#endif

// ---- Barrier flag ---------------------------------------------------------------------

/// How many heaps of this process want their reference stores recorded. Zero: no store
/// does anything but store. Changed by the collector alone.
HEAP_HIDDEN extern uint32_t heap_barrier_flag;

/// Ordering: relaxed. A mutator learns of a raised flag at the latest in the handshake
/// that follows; see Note [Barrier flag] in Documentation/MemoryOrdering.md.
static inline bool heap_barrier_is_up(void) {
  return __atomic_load_n(&heap_barrier_flag, __ATOMIC_RELAXED) != 0;
}

static inline void heap_barrier_raise(void) {
  __atomic_fetch_add(&heap_barrier_flag, 1, __ATOMIC_SEQ_CST);
}

static inline void heap_barrier_lower(void) {
  __atomic_fetch_sub(&heap_barrier_flag, 1, __ATOMIC_SEQ_CST);
}

// ---- Arena index ----------------------------------------------------------------------

#define HEAP_ADDRESS_BITS 48
#define HEAP_ARENA_SHIFT 26
#define HEAP_ARENA_SLOTS (1ul << (HEAP_ADDRESS_BITS - HEAP_ARENA_SHIFT))

/// Address → side tables of the arena that holds it, or 0. 32 MiB of zero-initialised
/// memory, of which only the touched pages exist.
HEAP_HIDDEN extern uintptr_t heap_arena_index[HEAP_ARENA_SLOTS];

/// Relaxed: an entry is published before any pointer into its arena is (the pointer is
/// the address dependency), and a word that is no pointer may see either.
static inline uintptr_t heap_arena_tables(uintptr_t slot) {
  return __atomic_load_n(&heap_arena_index[slot], __ATOMIC_RELAXED);
}

static inline void heap_arena_publish(uintptr_t slot, uintptr_t tables) {
  __atomic_store_n(&heap_arena_index[slot], tables, __ATOMIC_RELEASE);
}

// ---- Cards ----------------------------------------------------------------------------

// An arena's card table is the first of its side tables: one byte for 2 KiB of the arena, set
// when a reference is stored there. See Sources/Heap/Memory/CardTable.swift.

#define HEAP_CARD_SHIFT 11

/// Sets the card of a slot, which lies in an arena.
///
/// Relaxed: the collector looks at cards after a handshake.
static inline void heap_card_mark(uintptr_t address) {
  uintptr_t tables = heap_arena_tables(address >> HEAP_ARENA_SHIFT);
  uintptr_t card = (address & ((1ul << HEAP_ARENA_SHIFT) - 1)) >> HEAP_CARD_SHIFT;
  __atomic_store_n((uint8_t *)(tables + card), 1, __ATOMIC_RELAXED);
}

/// Sets the cards of `size` bytes, at least one, of a span.
static inline void heap_card_mark_range(uintptr_t address, size_t size) {
  // Every card but the last one, and the last one: for what is smaller than a card, two stores.
  for (size_t offset = 0; offset < size; offset += 1ul << HEAP_CARD_SHIFT)
    heap_card_mark(address + offset);
  heap_card_mark(address + size - 1);
}

/// The number of the first card at or after `card` that may be dirty: its group of eight is. Or
/// `count`, a multiple of 64.
///
/// Nobody sets cards meanwhile, or it does not matter whether they are seen.
HEAP_UNCHECKED
static inline size_t heap_next_dirty_group(uintptr_t cards, size_t card, size_t count) {
  const uint64_t *groups = (const uint64_t *)cards;
  for (; card < count && card % 64 != 0; card += 8)
    if (groups[card / 8]) return card;
  for (; card < count; card += 64) {
    const uint64_t *line = groups + card / 8;
    if (line[0] | line[1] | line[2] | line[3] | line[4] | line[5] | line[6] | line[7]) break;
  }
  for (; card < count; card += 8)
    if (groups[card / 8]) return card;
  return count;
}

// ---- Threads --------------------------------------------------------------------------

/// The innermost mutator that this thread has attached, or null.
extern _Thread_local void *_Nullable heap_current_mutator
    __attribute__((tls_model("initial-exec")));

/// Whether the end of this thread is watched (`heap_watch_thread_end`).
extern _Thread_local bool heap_thread_end_is_watched __attribute__((tls_model("initial-exec")));

static inline void *_Nullable heap_current(void) { return heap_current_mutator; }

/// From now on the process stops with a message if the thread ends with a mutator attached.
/// A thread may do that by `pthread_exit` or `longjmp`, and would leave a mutator that never
/// answers, or whose stack is gone.
void heap_watch_thread_end(void);

/// Makes `mutator` the thread's innermost one. The first in a thread also has the thread's end
/// watched; later ones pay a test of a thread-local byte for it.
static inline void heap_set_current(void *_Nullable mutator) {
  heap_current_mutator = mutator;
  if (mutator && !heap_thread_end_is_watched) heap_watch_thread_end();
}

/// The ranks of the locks that the thread holds, one bit each (debug builds: LockRank).
extern _Thread_local uint64_t heap_held_lock_ranks __attribute__((tls_model("initial-exec")));

static inline uint64_t heap_held_ranks(void) { return heap_held_lock_ranks; }
static inline void heap_set_held_ranks(uint64_t ranks) { heap_held_lock_ranks = ranks; }

/// The calling thread, as `heap_thread_name_of` takes it.
uint64_t heap_thread_self(void);

/// Writes a thread's name, at most `size` bytes with the closing zero. The thread is alive.
void heap_thread_name_of(uint64_t thread, char *_Nonnull buffer, size_t size);

/// Gives the calling thread a name (15 bytes are kept).
void heap_set_thread_name(const char *_Nonnull name);

/// Starts a joinable thread; 0 or an errno. Signals of the program are blocked in it, because
/// they are the program's business. Signals that say that the thread itself has crashed are
/// not, so that a crash reaches the program's handlers and a debugger.
int heap_thread_start(uint64_t *_Nonnull thread, void (*_Nonnull body)(void *_Nullable),
                      void *_Nullable context);
void heap_thread_join(uint64_t thread);

extern uint32_t heap_forks;

/// How many forks lie between the program's start and this process. A heap that was made in
/// another generation has no threads in this process: only the thread that called `fork` exists
/// in the child. (A child made by `posix_spawn` or `vfork` runs another program and no heap.)
static inline uint32_t heap_fork_generation(void) {
  return __atomic_load_n(&heap_forks, __ATOMIC_RELAXED);
}

// ---- Stacks ---------------------------------------------------------------------------

/// The bounds of the calling thread's stack: `*low` ≤ address < `*high`. False if the system
/// does not tell.
///
/// Everything that the thread's frames hold lies in these bounds, unless it runs on a signal
/// stack or a fiber's. The bounds are read once a thread, because reading them is slow (some
/// microseconds; for the main thread the system reads a file). The main thread's stack grows:
/// its `*low` is what it may grow to, and is read again when the caller's frame lies below it,
/// because the program may have raised the limit since.
bool heap_thread_stack(uintptr_t *_Nonnull low, uintptr_t *_Nonnull high);

/// An address in the calling function's frame, or just below it.
static inline uintptr_t heap_stack_pointer(void) { return (uintptr_t)__builtin_frame_address(0); }

/// Calls `body(context, stackPointer)` after storing every callee-saved register in this
/// function's frame: whatever the callers hold lies at or above `stackPointer`. (Registers
/// that are not callee-saved were spilled by the caller itself, if it needs them.)
void heap_call_with_spilled_registers(
    void (*_Nonnull body)(void *_Nullable context, uintptr_t stack_pointer),
    void *_Nullable context);

// AddressSanitizer can keep the locals of a function in a frame on a heap of its own, a fake
// frame, to find uses of locals after the function has returned. The real frame then holds the
// fake one's address. Who scans a stack follows such addresses. One step is enough: a function
// that runs keeps the address of its fake frame in its real one.

/// The calling thread's fake stack, or null: AddressSanitizer is not there, or keeps none. Valid
/// as long as the thread lives; another thread may pass it to `heap_fake_stack_frame` while this
/// one stands still.
void *_Nullable heap_fake_stack(void);

bool heap_fake_stack_frame_slow(void *_Nonnull fake_stack, uintptr_t word,
                                uintptr_t *_Nonnull begin, uintptr_t *_Nonnull end);

/// Whether `word` points into a fake frame of a function that runs; if so, the bounds of that
/// frame. False at once without a fake stack.
static inline bool heap_fake_stack_frame(void *_Nullable fake_stack, uintptr_t word,
                                         uintptr_t *_Nonnull begin, uintptr_t *_Nonnull end) {
  return fake_stack && heap_fake_stack_frame_slow(fake_stack, word, begin, end);
}

// ---- Waiting --------------------------------------------------------------------------

/// Sleeps while `*word == expected`, at most `nanoseconds` (negative: for ever). May wake
/// early; callers look again.
void heap_wait(uint32_t *_Nonnull word, uint32_t expected, int64_t nanoseconds);
/// Wakes at most `count` threads that wait on the word.
void heap_wake(uint32_t *_Nonnull word, int count);

/// Nanoseconds of a clock that never goes back.
uint64_t heap_now(void);
/// CPU nanoseconds of the calling thread.
uint64_t heap_thread_cpu(void);
/// CPU nanoseconds of the whole process.
uint64_t heap_process_cpu(void);
/// Processors that this process may run on.
int heap_processor_count(void);

// ---- Memory ---------------------------------------------------------------------------

static inline void heap_prefetch(uintptr_t address) { __builtin_prefetch((const void *)address, 0, 3); }
static inline void heap_prefetch_write(uintptr_t address) { __builtin_prefetch((const void *)address, 1, 3); }

/// Sets a bit of a word, sequentially consistent; whether it was set before.
///
/// One instruction where the processor has it (`lock bts`). In Swift the old value would be asked
/// for, which is a loop of compare-and-exchange on x86-64.
static inline bool heap_test_and_set_bit(uintptr_t word, uintptr_t bit) {
  uint64_t mask = 1ull << (bit & 63);
  return (__atomic_fetch_or((uint64_t *)word, mask, __ATOMIC_SEQ_CST) & mask) != 0;
}

/// How many bits of 64 bytes are set. Nobody writes them meanwhile.
///
/// In C, with plain loads, because then the compiler counts several words at a time.
HEAP_UNCHECKED
static inline size_t heap_count_bits_of_line(uintptr_t line) {
  const uint64_t *words = (const uint64_t *)line;
  size_t count = 0;
  for (int i = 0; i < 8; i++) count += (size_t)__builtin_popcountll(words[i]);
  return count;
}

/// Tells the processor that the thread spins.
static inline void heap_pause(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

/// Reads a word that another thread may be writing: a heap slot, or a stack word. Sanitizers
/// do not look: the writer writes plainly, and a stack is read across its redzones.
HEAP_UNCHECKED
static inline uintptr_t heap_load_word(uintptr_t address) {
  return __atomic_load_n((const uintptr_t *)address, __ATOMIC_RELAXED);
}

/// The first place of `size` bytes among `count` others, or null. Linear time.
const uint8_t *_Nullable heap_find_bytes(const uint8_t *_Nonnull bytes, size_t count,
                                         const uint8_t *_Nonnull wanted, size_t size);
/// The last place of a byte among `count` others, or null.
const uint8_t *_Nullable heap_find_last_byte(const uint8_t *_Nonnull bytes, size_t count,
                                             uint8_t wanted);

// ---- System ---------------------------------------------------------------------------

/// A variable of the environment, or null. Valid until the program changes the environment.
const char *_Nullable heap_environment(const char *_Nonnull name);

/// Writes the system's words for an errno, at most `size` bytes with the closing zero.
void heap_error_text(int code, char *_Nonnull buffer, size_t size);

/// Writes to standard error, in one call to the system. What cannot be written is lost.
void heap_write_error(const char *_Nonnull text, size_t size);

#endif
