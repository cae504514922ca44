// The bitmap code: two bits an element of the vector. See codecs/bitmap.py.
#ifndef TFSCALE_KERNELS_BITMAP_H_
#define TFSCALE_KERNELS_BITMAP_H_

#include <cstdint>
#include <cstring>
#include <string>

#include "message.h"

namespace tfscale {

inline int64_t BitmapWords(int64_t size) { return (size + 15) / 16; }

inline void EncodeBitmap(const Element* elements, int64_t count, int64_t size, Word* out) {
  std::memset(out, 0, BitmapWords(size) * sizeof(Word));
  for (int64_t i = 0; i < count; ++i) {
    const uint64_t index = elements[i] >> 1;
    out[index / 16] |= (1U + (elements[i] & 1U)) << (2 * (index % 16));
  }
}

// Returns what is wrong with the payload, or nothing.
inline std::string DecodeBitmap(const Word* in, int64_t length, int64_t count, int64_t size, Element* out) {
  if (length != BitmapWords(size)) return "a bitmap of another length";
  int64_t found = 0;
  for (int64_t i = 0; i < length; ++i) {
    for (Word rest = in[i]; rest != 0;) {
      const int pair = __builtin_ctz(rest) / 2;
      const Word bits = (rest >> (2 * pair)) & 3U;
      const uint64_t index = static_cast<uint64_t>(i) * 16 + pair;
      if (bits == 3U || index >= static_cast<uint64_t>(size) || found == count) return "a wrong bitmap";
      out[found++] = static_cast<Element>(index << 1 | (bits - 1U));
      rest &= ~(3U << (2 * pair));
    }
  }
  return found == count ? "" : "fewer elements than it says";
}

}  // namespace tfscale

#endif  // TFSCALE_KERNELS_BITMAP_H_
