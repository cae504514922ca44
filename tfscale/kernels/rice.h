// The rice code: Golomb-Rice coded gaps. See codecs/rice.py for the layout and the choice of the divisor.
#ifndef TFSCALE_KERNELS_RICE_H_
#define TFSCALE_KERNELS_RICE_H_

#include <algorithm>
#include <cstdint>
#include <vector>

#include "message.h"

namespace tfscale {

constexpr int64_t kBlock = 16384;  // sparse elements of a block
constexpr int kTrits = 5;          // base-3 digits of a byte
constexpr int kLargestCode = 61;
// Mean gap, in thousandths of the divisor, above which the next code is shorter; for even and odd codes.
constexpr int kUp[2] = {1866, 1665};

// Code 2k divides by 2^k, code 2k + 1 by 3 * 2^(k - 1).
struct Divisor {
  explicit Divisor(int code) : code(code), trit(code & 1), low(code / 2 - trit), value((trit ? 3ULL : 1ULL) << low) {}
  // Bits of the low field: remainder and sign.
  int Width() const { return low + 1; }
  int code, trit, low;
  uint64_t value;
};

// The first code whose divisor suits `gaps` gaps with the sum `span`.
inline int ChooseCode(int64_t span, int64_t gaps) {
  int code = 0;
  while (code < kLargestCode) {
    const Divisor here(code);
    if ((2 * span + gaps) * 1000 <= static_cast<int64_t>(2 * gaps * here.value) * kUp[here.trit]) break;
    code += code == 0 ? 2 : 1;
  }
  return code;
}

// The smallest difference between two indices of a list, of which a gap is the excess: an element may stand again if
// there are several levels.
inline Element SmallestStep(int levels) { return levels == 1 ? 1 : 0; }

struct RiceBlock {
  int64_t first, count;  // elements
  int code;
  int64_t low, trit, unary;           // words of each plane
  int64_t low_at, trit_at, unary_at;  // first word of each
};

inline int64_t BlocksOf(int64_t count) { return (count + kBlock - 1) / kBlock; }

// Sets the words of the planes that do not depend on the quotients.
inline void FixedPlanes(RiceBlock* block) {
  const Divisor divisor(block->code);
  const int64_t gaps = block->count - 1;
  block->low = (gaps * divisor.Width() + 31) / 32;
  block->trit = divisor.trit ? ((gaps + kTrits - 1) / kTrits + 3) / 4 : 0;
}

inline Element Third(Element value) { return static_cast<Element>(value * 0xaaaaaaabULL >> 33); }

// Sets the first words of all planes; returns the length of the payload. Planes of one kind stand together: the table,
// low fields, base-3 digits, quotients.
inline int64_t PlacePlanes(std::vector<RiceBlock>* blocks) {
  int64_t at = 2 * static_cast<int64_t>(blocks->size());
  for (auto& block : *blocks) at += (block.low_at = at, block.low);
  for (auto& block : *blocks) at += (block.trit_at = at, block.trit);
  for (auto& block : *blocks) at += (block.unary_at = at, block.unary);
  return at;
}

}  // namespace tfscale

#endif  // TFSCALE_KERNELS_RICE_H_
