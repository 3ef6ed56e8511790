// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// What Swift cannot say.
//
// Five things, each a few lines: the word that every reference store tests, the table
// from address to arena (both process-wide, because the machine forces it, and read with
// no accessor call), the thread's attached mutator, the stack (its bounds, and calling a
// function with all registers spilled to it), and waiting in the kernel. Everything else
// is Swift.

#ifndef C_HEAP_SHIMS_H
#define C_HEAP_SHIMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "HeapSizeClasses.h"

// ---- Barrier flag ---------------------------------------------------------------------

/// How many heaps of this process want their reference stores recorded. Zero: no store
/// does anything but store. Changed by the collector alone.
extern uint32_t heap_barrier_flag;

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
extern uintptr_t heap_arena_index[HEAP_ARENA_SLOTS];

/// Relaxed: an entry is published before any pointer into its arena is (the pointer is
/// the address dependency), and a word that is no pointer may see either.
static inline uintptr_t heap_arena_tables(uintptr_t slot) {
  return __atomic_load_n(&heap_arena_index[slot], __ATOMIC_RELAXED);
}

static inline void heap_arena_publish(uintptr_t slot, uintptr_t tables) {
  __atomic_store_n(&heap_arena_index[slot], tables, __ATOMIC_RELEASE);
}

// ---- Threads --------------------------------------------------------------------------

/// The innermost mutator that this thread has attached, or null.
extern _Thread_local void *_Nullable heap_current_mutator
    __attribute__((tls_model("initial-exec")));

static inline void *_Nullable heap_current(void) { return heap_current_mutator; }
static inline void heap_set_current(void *_Nullable mutator) { heap_current_mutator = mutator; }

/// The ranks of the locks that the thread holds, one bit each (debug builds: LockRank).
extern _Thread_local uint64_t heap_held_lock_ranks __attribute__((tls_model("initial-exec")));

static inline uint64_t heap_held_ranks(void) { return heap_held_lock_ranks; }
static inline void heap_set_held_ranks(uint64_t ranks) { heap_held_lock_ranks = ranks; }

/// Writes the calling thread's name, at most `size` bytes with the closing zero.
void heap_thread_name(char *_Nonnull buffer, size_t size);

/// Gives the calling thread a name (15 bytes are kept).
void heap_set_thread_name(const char *_Nonnull name);

/// Starts a joinable thread with all signals blocked; 0 or an errno.
int heap_thread_start(uint64_t *_Nonnull thread, void (*_Nonnull body)(void *_Nullable),
                      void *_Nullable context);
void heap_thread_join(uint64_t thread);

// ---- The stack ------------------------------------------------------------------------

/// Calls `body(context, stackPointer)` after storing every callee-saved register in this
/// function's frame: whatever the callers hold lies at or above `stackPointer`. (Registers
/// that are not callee-saved were spilled by the caller itself, if it needs them.)
void heap_call_with_spilled_registers(
    void (*_Nonnull body)(void *_Nullable context, uintptr_t stack_pointer),
    void *_Nullable context);

// ---- Waiting --------------------------------------------------------------------------

/// Sleeps while `*word == expected`, at most `nanoseconds` (negative: for ever). May wake
/// early; callers look again.
void heap_wait(uint32_t *_Nonnull word, uint32_t expected, int64_t nanoseconds);
void heap_wake(uint32_t *_Nonnull word, int count);

/// Nanoseconds of a clock that never goes back; CPU nanoseconds of the calling thread.
uint64_t heap_now(void);
uint64_t heap_thread_cpu(void);
/// CPU nanoseconds of the whole process.
uint64_t heap_process_cpu(void);
/// Processors that this process may run on.
int heap_processor_count(void);

// ---- Memory ---------------------------------------------------------------------------

static inline void heap_prefetch(uintptr_t address) { __builtin_prefetch((const void *)address, 0, 3); }
static inline void heap_prefetch_write(uintptr_t address) { __builtin_prefetch((const void *)address, 1, 3); }

static inline void heap_pause(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

/// Reads a word that another thread may be writing: a heap slot, or a stack word.
static inline uintptr_t heap_load_word(uintptr_t address) {
  return __atomic_load_n((const uintptr_t *)address, __ATOMIC_RELAXED);
}

#endif
