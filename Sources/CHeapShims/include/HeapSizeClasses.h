// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The size classes, as tables that Swift code reads with one load.
//
// In C because of how they are read: a Swift global array costs a call to its accessor (and,
// the first time, `swift_once`) on every use from another module; a `static const` array
// behind an inline function is a load with a constant base, in any module.
//
// The list of (slot size in bytes, pages of a span) is Go's current one, internal/runtime/gc/
// sizeclasses.go, without its class of 8 bytes; all other tables follow from it, and
// SizeClassTests proves both it and them from the rules that Spans/SizeClass.swift states. Class 0, large, is all zeroes: its spans
// hold one object of any size, and `offset * 0 >> 32` is the right index for every offset. (But
// its one slot does start somewhere.)

#ifndef HEAP_SIZE_CLASSES_H
#define HEAP_SIZE_CLASSES_H

#include <stdint.h>

#define HEAP_SIZE_CLASS_COUNT 67

// X(bytes of a slot, pages of a span), for classes 1 to 66.
#define HEAP_SIZE_CLASSES(X) \
  X(16, 1) X(24, 1) X(32, 1) X(48, 1) X(64, 1) X(80, 1) \
  X(96, 1) X(112, 1) X(128, 1) X(144, 1) X(160, 1) X(176, 1) \
  X(192, 1) X(208, 1) X(224, 1) X(240, 1) X(256, 1) X(288, 1) \
  X(320, 1) X(352, 1) X(384, 1) X(416, 1) X(448, 1) X(480, 1) \
  X(512, 1) X(576, 1) X(640, 1) X(704, 1) X(768, 1) X(896, 1) \
  X(1024, 1) X(1152, 1) X(1280, 1) X(1408, 2) X(1536, 1) X(1792, 2) \
  X(2048, 1) X(2304, 2) X(2688, 1) X(3072, 3) X(3200, 2) X(3456, 3) \
  X(4096, 1) X(4864, 3) X(5376, 2) X(6144, 3) X(6528, 4) X(6784, 5) \
  X(6912, 6) X(8192, 1) X(9472, 7) X(9728, 6) X(10240, 5) X(10880, 4) \
  X(12288, 3) X(13568, 5) X(14336, 7) X(16384, 2) X(18432, 9) X(19072, 7) \
  X(20480, 5) X(21760, 8) X(24576, 3) X(27264, 10) X(28672, 7) X(32768, 4)

#define HEAP_SLOT_SIZE(bytes, pages) bytes,
#define HEAP_SPAN_PAGES(bytes, pages) pages,
#define HEAP_SPAN_SLOTS(bytes, pages) ((pages)*8192) / (bytes),
#define HEAP_RECIPROCAL(bytes, pages) UINT32_MAX / (bytes) + 1,

// Which of 64 granules of 16 bytes slots start in, if the first one does at the first granule.
#define HEAP_START(i, bytes) \
  ((uint64_t)((i) * (bytes) < 64 * 16) << ((i) * (bytes) / 16 % 64))
#define HEAP_4_STARTS(i, bytes) \
  (HEAP_START(i, bytes) | HEAP_START((i) + 1, bytes) | HEAP_START((i) + 2, bytes) | \
   HEAP_START((i) + 3, bytes))
#define HEAP_16_STARTS(i, bytes) \
  (HEAP_4_STARTS(i, bytes) | HEAP_4_STARTS((i) + 4, bytes) | HEAP_4_STARTS((i) + 8, bytes) | \
   HEAP_4_STARTS((i) + 12, bytes))
#define HEAP_STARTS(bytes, pages) \
  HEAP_16_STARTS(0, bytes) | HEAP_16_STARTS(16, bytes) | HEAP_16_STARTS(32, bytes) | \
      HEAP_16_STARTS(48, bytes),

static const uint16_t heap_slot_sizes[HEAP_SIZE_CLASS_COUNT] = {
    0, HEAP_SIZE_CLASSES(HEAP_SLOT_SIZE)};
static const uint8_t heap_span_pages[HEAP_SIZE_CLASS_COUNT] = {
    0, HEAP_SIZE_CLASSES(HEAP_SPAN_PAGES)};
static const uint16_t heap_span_slots[HEAP_SIZE_CLASS_COUNT] = {
    0, HEAP_SIZE_CLASSES(HEAP_SPAN_SLOTS)};
static const uint32_t heap_reciprocals[HEAP_SIZE_CLASS_COUNT] = {
    0, HEAP_SIZE_CLASSES(HEAP_RECIPROCAL)};
static const uint64_t heap_starts[HEAP_SIZE_CLASS_COUNT] = {1, HEAP_SIZE_CLASSES(HEAP_STARTS)};

#undef HEAP_SLOT_SIZE
#undef HEAP_SPAN_PAGES
#undef HEAP_SPAN_SLOTS
#undef HEAP_RECIPROCAL
#undef HEAP_START
#undef HEAP_4_STARTS
#undef HEAP_16_STARTS
#undef HEAP_STARTS
#undef HEAP_SIZE_CLASSES

// The class of a size of up to 1024 bytes, in 8-byte steps, rounded up.
static const uint8_t heap_size_classes_by_8[129] = {
  1, 1, 1, 2, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11,
  11, 12, 12, 13, 13, 14, 14, 15, 15, 16, 16, 17, 17, 18, 18, 18, 18, 19, 19, 19,
  19, 20, 20, 20, 20, 21, 21, 21, 21, 22, 22, 22, 22, 23, 23, 23, 23, 24, 24, 24,
  24, 25, 25, 25, 25, 26, 26, 26, 26, 26, 26, 26, 26, 27, 27, 27, 27, 27, 27, 27,
  27, 28, 28, 28, 28, 28, 28, 28, 28, 29, 29, 29, 29, 29, 29, 29, 29, 30, 30, 30,
  30, 30, 30, 30, 30, 30, 30, 30, 30, 30, 30, 30, 30, 31, 31, 31, 31, 31, 31, 31,
  31, 31, 31, 31, 31, 31, 31, 31, 31,
};

// The class of a size of 1024 to 32768 bytes, by 128-byte steps above 1024, rounded up.
static const uint8_t heap_size_classes_by_128[249] = {
  31, 32, 33, 34, 35, 36, 36, 37, 37, 38, 38, 39, 39, 39, 40, 40, 40, 41, 42, 42,
  43, 43, 43, 43, 43, 44, 44, 44, 44, 44, 44, 45, 45, 45, 45, 46, 46, 46, 46, 46,
  46, 47, 47, 47, 48, 48, 49, 50, 50, 50, 50, 50, 50, 50, 50, 50, 50, 51, 51, 51,
  51, 51, 51, 51, 51, 51, 51, 52, 52, 53, 53, 53, 53, 54, 54, 54, 54, 54, 55, 55,
  55, 55, 55, 55, 55, 55, 55, 55, 55, 56, 56, 56, 56, 56, 56, 56, 56, 56, 56, 57,
  57, 57, 57, 57, 57, 58, 58, 58, 58, 58, 58, 58, 58, 58, 58, 58, 58, 58, 58, 58,
  58, 59, 59, 59, 59, 59, 59, 59, 59, 59, 59, 59, 59, 59, 59, 59, 59, 60, 60, 60,
  60, 60, 61, 61, 61, 61, 61, 61, 61, 61, 61, 61, 61, 62, 62, 62, 62, 62, 62, 62,
  62, 62, 62, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63,
  63, 63, 63, 63, 63, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64,
  64, 64, 64, 64, 64, 64, 65, 65, 65, 65, 65, 65, 65, 65, 65, 65, 65, 66, 66, 66,
  66, 66, 66, 66, 66, 66, 66, 66, 66, 66, 66, 66, 66, 66, 66, 66, 66, 66, 66, 66,
  66, 66, 66, 66, 66, 66, 66, 66, 66,
};

// The arguments are in range: a class below 67, a size of at most 32768. Swift checks them
// where they are made (SizeClass), so that nothing is checked here.

static inline uintptr_t heap_slot_size(uint8_t number) { return heap_slot_sizes[number]; }
static inline uintptr_t heap_pages_of_span(uint8_t number) { return heap_span_pages[number]; }
static inline uintptr_t heap_slots_of_span(uint8_t number) { return heap_span_slots[number]; }
static inline uint32_t heap_reciprocal(uint8_t number) { return heap_reciprocals[number]; }
static inline uint64_t heap_slot_starts(uint8_t number) { return heap_starts[number]; }

static inline uint8_t heap_size_class_of(uintptr_t size) {
  return size <= 1024 ? heap_size_classes_by_8[(size + 7) >> 3]
                      : heap_size_classes_by_128[(size - 1024 + 127) >> 7];
}

#endif
