// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The parts: process-wide words; threads; stacks; system (all POSIX); and, last, what only
// Linux has.

#define _GNU_SOURCE
#include "CHeapShims.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#if !defined(__x86_64__) && !defined(__aarch64__)
#error "swift-managed-heap knows the registers of x86-64 and arm64 only"
#endif

uint32_t heap_barrier_flag = 0;
uintptr_t heap_arena_index[HEAP_ARENA_SLOTS];
uint32_t heap_forks = 0;
_Thread_local void *heap_current_mutator = NULL;
_Thread_local bool heap_thread_end_is_watched = false;
_Thread_local uint64_t heap_held_lock_ranks = 0;

// ---- Threads --------------------------------------------------------------------------

// The two halves of a thread's start: pthreads want a body that returns a pointer.
struct start {
  void (*body)(void *);
  void *context;
};

static void *run(void *argument) {
  struct start start = *(struct start *)argument;
  free(argument);
  start.body(start.context);
  return NULL;
}

int heap_thread_start(uint64_t *thread, void (*body)(void *), void *context) {
  static const int crashes[] = {SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGFPE, SIGABRT};
  struct start *start = malloc(sizeof *start);
  if (!start) return ENOMEM;
  start->body = body;
  start->context = context;
  sigset_t blocked, before;
  sigfillset(&blocked);
  for (size_t i = 0; i < sizeof crashes / sizeof *crashes; i++) sigdelset(&blocked, crashes[i]);
  // A thread begins with its maker's signal mask.
  pthread_sigmask(SIG_SETMASK, &blocked, &before);
  pthread_t id;
  int error = pthread_create(&id, NULL, run, start);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (error) free(start);
  else *thread = (uint64_t)id;
  return error;
}

uint64_t heap_thread_self(void) { return (uint64_t)pthread_self(); }

void heap_thread_join(uint64_t thread) { pthread_join((pthread_t)thread, NULL); }

static pthread_key_t thread_end;

// The key's destructor: runs in a thread that ends.
static void thread_ended(void *unused) {
  (void)unused;
  static const char message[] =
      "Fatal error: a thread ended inside withMutator: its references can no longer be found. "
      "Return from withMutator before the thread ends; do not leave it by pthread_exit, by "
      "pthread_cancel or by longjmp.\n";
  // The system has cleared the thread's value. A destructor of somebody else that runs after
  // this one and enters a heap is watched again.
  heap_thread_end_is_watched = false;
  if (!heap_current_mutator) return;
  heap_write_error(message, sizeof message - 1);
  abort();
}

static void make_thread_end(void) {
  if (pthread_key_create(&thread_end, thread_ended) == 0) return;
  static const char message[] = "Fatal error: the program has used up its thread-local keys.\n";
  heap_write_error(message, sizeof message - 1);
  abort();
}

void heap_watch_thread_end(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, make_thread_end);
  // Any value but null has the destructor called. Without memory for the value (ENOMEM) the
  // thread is not watched; the next mutator tries again.
  heap_thread_end_is_watched = pthread_setspecific(thread_end, &thread_end) == 0;
}

static void forked(void) { __atomic_fetch_add(&heap_forks, 1, __ATOMIC_RELAXED); }

// Before the program begins: a fork must not be missed. A refusal (ENOMEM) leaves forks
// uncounted.
__attribute__((constructor)) static void count_forks(void) { pthread_atfork(NULL, NULL, forked); }

// ---- Stacks ---------------------------------------------------------------------------

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

static bool read_thread_stack(uintptr_t *low, uintptr_t *high);

bool heap_thread_stack(uintptr_t *low, uintptr_t *high) {
  static _Thread_local uintptr_t kept_low = 0, kept_high = 0;
  if ((kept_high == 0 || heap_stack_pointer() < kept_low) &&
      !read_thread_stack(&kept_low, &kept_high)) {
    return false;
  }
  *low = kept_low;
  *high = kept_high;
  return true;
}

// Null where AddressSanitizer is not linked in.
__attribute__((weak)) void *__asan_get_current_fake_stack(void);
__attribute__((weak)) void *__asan_addr_is_in_fake_stack(void *fake_stack, void *address,
                                                         void **begin, void **end);

void *heap_fake_stack(void) {
  return __asan_get_current_fake_stack ? __asan_get_current_fake_stack() : NULL;
}

bool heap_fake_stack_frame_slow(void *fake_stack, uintptr_t word, uintptr_t *begin,
                                uintptr_t *end) {
  return __asan_addr_is_in_fake_stack(fake_stack, (void *)word, (void **)begin, (void **)end);
}

// ---- System ---------------------------------------------------------------------------

static uint64_t clock_ns(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t heap_now(void) { return clock_ns(CLOCK_MONOTONIC); }
uint64_t heap_thread_cpu(void) { return clock_ns(CLOCK_THREAD_CPUTIME_ID); }
uint64_t heap_process_cpu(void) { return clock_ns(CLOCK_PROCESS_CPUTIME_ID); }

const char *heap_environment(const char *name) { return getenv(name); }

void heap_write_error(const char *text, size_t size) {
  ssize_t written = write(STDERR_FILENO, text, size);
  (void)written;
}

// ---- What the operating system gives ---------------------------------------------------

#if defined(__linux__)

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>

const uint8_t *heap_find_bytes(const uint8_t *bytes, size_t count, const uint8_t *wanted,
                               size_t size) {
  return memmem(bytes, count, wanted, size);
}

const uint8_t *heap_find_last_byte(const uint8_t *bytes, size_t count, uint8_t wanted) {
  return memrchr(bytes, wanted, count);
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

static bool read_thread_stack(uintptr_t *low, uintptr_t *high) {
  pthread_attr_t attributes;
  void *start;
  size_t size;
  if (pthread_getattr_np(pthread_self(), &attributes) != 0) return false;
  bool is_known = pthread_attr_getstack(&attributes, &start, &size) == 0;
  pthread_attr_destroy(&attributes);
  if (!is_known) return false;
  *low = (uintptr_t)start;
  *high = (uintptr_t)start + size;
  return true;
}

void heap_thread_name_of(uint64_t thread, char *buffer, size_t size) {
  if (pthread_getname_np((pthread_t)thread, buffer, size) != 0 && size > 0) buffer[0] = 0;
}

void heap_set_thread_name(const char *name) {
  char kept[16];
  strncpy(kept, name, sizeof kept - 1);
  kept[sizeof kept - 1] = 0;
  pthread_setname_np(pthread_self(), kept);
}

int heap_processor_count(void) {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
  return (int)sysconf(_SC_NPROCESSORS_ONLN);
}

void heap_error_text(int code, char *buffer, size_t size) {
  if (size == 0) return;
  // Not strerror, which may share its text between threads. This variant may answer with a
  // text of its own instead of the buffer.
  const char *text = strerror_r(code, buffer, size);
  if (text == buffer) return;
  strncpy(buffer, text, size - 1);
  buffer[size - 1] = 0;
}

#else
#error "swift-managed-heap knows Linux only: finding bytes, waiting, stack bounds, names, processors, error texts"
#endif
