// The test for elements that can be used. Floats are compared by their bits: the order of magnitudes is the same, and
// NaN lies above infinity.
#ifndef TFSCALE_KERNELS_USABLE_H_
#define TFSCALE_KERNELS_USABLE_H_

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "platform.h"

namespace tfscale {

constexpr int32_t kMagnitude = 0x7fffffff;  // all bits but the sign
constexpr int32_t kUnusable = 0x5f000000;   // 2^63: an element is usable if the bits of its magnitude are below

TFSCALE_INLINE int32_t MagnitudeBits(float value) {
  int32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits & kMagnitude;
}

TFSCALE_CLONES inline bool AllUsable(const float* values, int64_t length) {
  int32_t largest = 0;
  for (int64_t i = 0; i < length; ++i) largest = std::max(largest, MagnitudeBits(values[i]));
  return largest < kUnusable;
}

}  // namespace tfscale

#endif  // TFSCALE_KERNELS_USABLE_H_
