// The words of a message: header fields, formats, sparse elements. See compression/message.py.
#ifndef TFSCALE_KERNELS_MESSAGE_H_
#define TFSCALE_KERNELS_MESSAGE_H_

#include <cstdint>

namespace tfscale {

using Word = uint32_t;     // of a message
using Element = uint32_t;  // a sparse element: index << 1 | negative

constexpr int kHeader = 6;  // words
enum Field { kFormat = 0, kStep = 1, kThreshold = 2, kCount = 3, kDigest = 4, kChecksum = 5 };
enum Format : Word { kSkip = 0, kWord32 = 1, kBitmap = 2, kRice = 3, kProposal = 4 };

inline Word FormatOf(const Word* message) { return message[kFormat] & 0xffU; }
inline Word SkippedOf(const Word* message) { return message[kFormat] >> 16; }
inline Word ResidualRatioOf(const Word* message) { return message[kFormat] >> 8 & 0xffU; }

// A message as it was received.
struct MessageView {
  const Word* words;
  int64_t length;
};

}  // namespace tfscale

#endif  // TFSCALE_KERNELS_MESSAGE_H_
