// The sum of the sparse elements of all messages.
//
// Signs are counted, as integers in the memory of each float, and become floats in a second pass while their piece of
// the model is in the cache: the result does not depend on the order of the messages.
#ifndef TFSCALE_KERNELS_SUM_H_
#define TFSCALE_KERNELS_SUM_H_

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "layout.h"
#include "message.h"
#include "payload.h"
#include "platform.h"

namespace tfscale {

constexpr int64_t kPiece = 4096;  // elements of the sum that are made at a time, in the fastest cache
constexpr int64_t kFew = 16;      // if fewer than one element of so many was sent, only those become floats again

// The elements of one message, in memory that is kept unless it is far too large. A vector would write zeros first.
struct ElementList {
  // Makes it `elements` long; returns memory for them and kSpareElements more.
  Element* Resize(int64_t elements) {
    if (elements + kSpareElements > capacity || (capacity > kChunk && elements < capacity / 16)) {
      memory.reset();
      memory.reset(new Element[capacity = elements + elements / 4 + kSpareElements]);
    }
    count = elements;
    return memory.get();
  }
  std::unique_ptr<Element[]> memory;
  int64_t capacity = 0, count = 0;
};

// A list of elements that is read once, from one end to the other.
struct Cursor {
  const Element *begin, *next, *end;
};

// Writes a piece of the sum; returns the number of elements sent of it. The memory is cleared first, by a memset that
// need not read it: that costs less than to count elsewhere and write once.
TFSCALE_CLONES inline int64_t SumPiece(std::vector<Cursor>* cursors, int64_t start, int64_t length, float quantum,
                                       int levels, float* out) {
  int32_t* numbers = reinterpret_cast<int32_t*>(out);
  const uint64_t last = static_cast<uint64_t>(start + length) << 1;
  const int32_t largest = static_cast<int32_t>(cursors->size()) * levels;
  std::memset(numbers + start, 0, length * sizeof(int32_t));
  int64_t count = 0;
  for (Cursor& cursor : *cursors) {
    const Element *next = cursor.next, *end = cursor.end;
    for (; next < end && *next < last; ++next) numbers[*next >> 1] += 1 - 2 * static_cast<int>(*next & 1U);
    count += next - cursor.next;
    cursor.next = next;
  }
  if (count * kFew >= length) {
    for (int64_t i = start; i < start + length; ++i) out[i] = static_cast<float>(numbers[i]) * quantum;
    return count;
  }
  for (const Cursor& cursor : *cursors) {
    for (const Element* next = cursor.next; next > cursor.begin && next[-1] >> 1 >= start; --next) {
      const Element index = next[-1] >> 1;
      const int32_t number = numbers[index];
      // The bits of a float have an exponent, so they are far from these few integers.
      const bool counted = number <= largest && number >= -largest;
      out[index] = counted ? static_cast<float>(number) * quantum : out[index];
    }
  }
  return count;
}

// Writes one chunk of the sum; returns the number of elements sent of it.
inline int64_t SumChunk(const std::vector<ElementList>& lists, const Range& chunk, float quantum, int levels,
                        float* out) {
  std::vector<Cursor> cursors;
  for (const ElementList& list : lists) {
    const Element *begin = list.memory.get(), *end = begin + list.count;
    cursors.push_back({begin, std::lower_bound(begin, end, static_cast<Element>(chunk.start) << 1), end});
  }
  int64_t count = 0;
  for (int64_t at = 0; at < chunk.length; at += kPiece) {
    count += SumPiece(&cursors, chunk.start + at, std::min(kPiece, chunk.length - at), quantum, levels, out);
  }
  return count;
}

}  // namespace tfscale

#endif  // TFSCALE_KERNELS_SUM_H_
