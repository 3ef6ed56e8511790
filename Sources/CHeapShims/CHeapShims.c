// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

#define _GNU_SOURCE
#include "CHeapShims.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#if !defined(__x86_64__) && !defined(__aarch64__)
#error "swift-managed-heap knows the registers of x86-64 and arm64 only"
#endif

uint32_t heap_barrier_flag = 0;
uintptr_t heap_arena_index[HEAP_ARENA_SLOTS];
_Thread_local void *heap_current_mutator = NULL;
_Thread_local uint64_t heap_held_lock_ranks = 0;

void heap_thread_name(char *buffer, size_t size) {
  if (pthread_getname_np(pthread_self(), buffer, size) != 0 && size > 0) buffer[0] = 0;
}

void heap_set_thread_name(const char *name) {
  char kept[16];
  strncpy(kept, name, sizeof kept - 1);
  kept[sizeof kept - 1] = 0;
  pthread_setname_np(pthread_self(), kept);
}

// The two halves of a thread's start: pthreads want a body that returns a pointer.
struct start {
  void (*body)(void *);
  void *context;
};

static void *run(void *argument) {
  struct start start = *(struct start *)argument;
  __builtin_free(argument);
  start.body(start.context);
  return NULL;
}

int heap_thread_start(uint64_t *thread, void (*body)(void *), void *context) {
  struct start *start = __builtin_malloc(sizeof *start);
  if (!start) return ENOMEM;
  start->body = body;
  start->context = context;
  // A library's threads take no signals: those are the program's.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t id;
  int error = pthread_create(&id, NULL, run, start);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (error) __builtin_free(start);
  else *thread = (uint64_t)id;
  return error;
}

void heap_thread_join(uint64_t thread) { pthread_join((pthread_t)thread, NULL); }

__attribute__((noinline)) void heap_call_with_spilled_registers(
    void (*body)(void *, uintptr_t), void *context) {
#if defined(__x86_64__)
  uintptr_t registers[6];
  __asm__ volatile(
      "movq %%rbx, 0(%0)\n\tmovq %%rbp, 8(%0)\n\tmovq %%r12, 16(%0)\n\t"
      "movq %%r13, 24(%0)\n\tmovq %%r14, 32(%0)\n\tmovq %%r15, 40(%0)"
      :
      : "r"(registers)
      : "memory");
#else
  uintptr_t registers[20];
  __asm__ volatile(
      "stp x19, x20, [%0, #0]\n\tstp x21, x22, [%0, #16]\n\tstp x23, x24, [%0, #32]\n\t"
      "stp x25, x26, [%0, #48]\n\tstp x27, x28, [%0, #64]\n\tstp x29, x30, [%0, #80]\n\t"
      "stp d8, d9, [%0, #96]\n\tstp d10, d11, [%0, #112]\n\tstp d12, d13, [%0, #128]\n\t"
      "stp d14, d15, [%0, #144]"
      :
      : "r"(registers)
      : "memory");
#endif
  body(context, (uintptr_t)registers);
  // Not a tail call: the frame with the registers lives as long as the body runs.
  __asm__ volatile("" : : "r"(registers) : "memory");
}

void heap_wait(uint32_t *word, uint32_t expected, int64_t nanoseconds) {
  struct timespec limit = {nanoseconds / 1000000000, nanoseconds % 1000000000};
  int saved = errno;
  syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, nanoseconds < 0 ? NULL : &limit, NULL, 0);
  errno = saved;
}

void heap_wake(uint32_t *word, int count) {
  int saved = errno;
  syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
  errno = saved;
}

static uint64_t clock_ns(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t heap_now(void) { return clock_ns(CLOCK_MONOTONIC); }
uint64_t heap_thread_cpu(void) { return clock_ns(CLOCK_THREAD_CPUTIME_ID); }
uint64_t heap_process_cpu(void) { return clock_ns(CLOCK_PROCESS_CPUTIME_ID); }

int heap_processor_count(void) {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
  return (int)sysconf(_SC_NPROCESSORS_ONLN);
}
