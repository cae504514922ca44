// The word32 code: one word an element. See codecs/word32.py.
#ifndef TFSCALE_KERNELS_WORD32_H_
#define TFSCALE_KERNELS_WORD32_H_

#include <cstdint>
#include <cstring>
#include <string>

#include "message.h"

namespace tfscale {

inline void EncodeWord32(const Element* elements, int64_t count, Word* out) {
  std::memcpy(out, elements, count * sizeof(Word));
}

// Returns what is wrong with the payload, or nothing.
inline std::string DecodeWord32(const Word* in, int64_t length, int64_t count, int64_t size, Element step,
                                Element* out) {
  if (length != count) return "a list of another length";
  int64_t least = 0;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t index = in[i] >> 1;
    if (index < least || index >= size) return "indices out of order";
    least = index + step;
    out[i] = in[i];
  }
  return "";
}

}  // namespace tfscale

#endif  // TFSCALE_KERNELS_WORD32_H_
