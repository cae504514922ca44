// The checksum of a message.
#ifndef TFSCALE_KERNELS_CHECKSUM_H_
#define TFSCALE_KERNELS_CHECKSUM_H_

#include <cstdint>

#include "message.h"
#include "platform.h"

namespace tfscale {

// A permutation of 32-bit words, Ellis' lowbias32.
inline Word Mix(Word x) {
  x ^= x >> 16;
  x *= 0x7feb352dU;
  x ^= x >> 15;
  x *= 0x846ca68bU;
  return x ^ (x >> 16);
}

// Every word passes through a permutation that depends on its index, so any single wrong word changes the sum.
TFSCALE_CLONES inline Word Checksum(const Word* message, int64_t length) {
  Word total = static_cast<Word>(length);
  for (int64_t i = 0; i < length; ++i) {
    if (i != kChecksum) total += Mix(message[i] + static_cast<Word>(i + 1) * 0x9e3779b9U);
  }
  return total;
}

}  // namespace tfscale

#endif  // TFSCALE_KERNELS_CHECKSUM_H_
