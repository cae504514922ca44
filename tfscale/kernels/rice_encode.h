// Encodes sparse elements as Golomb-Rice coded gaps, a block at a time.
#ifndef TFSCALE_KERNELS_RICE_ENCODE_H_
#define TFSCALE_KERNELS_RICE_ENCODE_H_

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "parallel.h"
#include "platform.h"
#include "rice.h"

namespace tfscale {

// The sum of the quotients of the first `gaps` gaps of a block.
template <bool kTrit>
TFSCALE_CLONES uint64_t SumQuotients(const Element* own, int64_t gaps, int low, Element step) {
  uint64_t total = 0;
  for (int64_t i = 1; i <= gaps; ++i) {
    const Element high = ((own[i] >> 1) - (own[i - 1] >> 1) - step) >> low;
    total += kTrit ? Third(high) : high;
  }
  return total;
}

// The code and the size of a block.
inline RiceBlock PlanBlock(const Element* elements, int64_t total, int64_t number, Element step) {
  RiceBlock block{};
  block.first = number * kBlock;
  block.count = std::min(kBlock, total - block.first);
  const Element* own = elements + block.first;
  const int64_t gaps = block.count - 1;
  const int64_t span = gaps == 0 ? 0 : static_cast<int64_t>(own[gaps] >> 1) - (own[0] >> 1) - gaps * step;
  block.code = gaps == 0 ? 0 : ChooseCode(span, gaps);
  FixedPlanes(&block);
  const Divisor divisor(block.code);
  const uint64_t bits = gaps + (divisor.trit ? SumQuotients<true>(own, gaps, divisor.low, step)
                                             : SumQuotients<false>(own, gaps, divisor.low, step));
  block.unary = (bits + 31) / 32;
  return block;
}

// Writes bits one after the other, through a register.
class Plane {
 public:
  explicit Plane(Word* out) : out_(out) {}
  // Appends 1 to 32 bits; those of `value` above them are 0. Without a branch: a word that is not full is written, too.
  TFSCALE_INLINE void Put(uint64_t value, int width) {
    bits_ |= value << filled_;
    filled_ += width;
    *out_ = static_cast<Word>(bits_);
    const unsigned full = filled_ / 32;
    out_ += full;
    bits_ >>= 32 * full;
    filled_ %= 32;
  }
  // Appends zeros and a one.
  TFSCALE_INLINE void PutUnary(uint64_t zeros) {
    for (; __builtin_expect(zeros >= 32, 0); zeros -= 32) Put(0, 32);
    Put(1ULL << zeros, static_cast<int>(zeros) + 1);
  }
  void Close() {
    if (filled_ > 0) *out_ = static_cast<Word>(bits_);
  }

 private:
  Word* out_;
  uint64_t bits_ = 0;
  unsigned filled_ = 0;
};

// Writes one block; `out` is the zeroed payload.
template <bool kTrit, bool kNarrow>
TFSCALE_INLINE void EncodeBlock(const RiceBlock& block, const Element* elements, int64_t number, Element step,
                                Word* out) {
  const Divisor divisor(block.code);
  const Element* own = elements + block.first;
  out[2 * number] = own[0];
  out[2 * number + 1] = static_cast<Word>(block.code) << 24 | static_cast<Word>(block.unary);
  Plane low(out + block.low_at), unary(out + block.unary_at);
  unsigned char* trits = reinterpret_cast<unsigned char*>(out + block.trit_at);
  const int width = divisor.Width(), shift = divisor.low;
  const Element low_mask = (1U << shift) - 1;
  constexpr unsigned kWeights[kTrits] = {1, 3, 9, 27, 81};
  // A few gaps at a time, so that a gap does not wait until the one before has been written.
  for (int64_t i = 1; i < block.count; i += kTrits) {
    const int some = static_cast<int>(std::min<int64_t>(kTrits, block.count - i));
    uint64_t fields = 0, ones = 0;
    unsigned byte = 0, length = 0;
    Element quotients[kTrits];
#pragma GCC unroll 5
    for (int j = 0; j < kTrits; ++j) {
      if (j == some) break;
      const Element here = own[i + j], gap = (here >> 1) - (own[i + j - 1] >> 1) - step, high = gap >> shift;
      const Element quotient = quotients[j] = kTrit ? Third(high) : high;
      if (kTrit) byte += (high - 3 * quotient) * kWeights[j];
      const uint64_t field = (gap & low_mask) << 1 | (here & 1U);
      kNarrow ? static_cast<void>(fields |= field << (j * width)) : low.Put(field, width);
      length += quotient;
      ones |= 1ULL << (length % 64);
      length += 1;
    }
    if (kNarrow) low.Put(fields, some * width);
    if (kTrit) *trits++ = static_cast<unsigned char>(byte);
    if (__builtin_expect(length <= 32, 1)) {
      unary.Put(ones, length);
    } else {
      for (int j = 0; j < some; ++j) unary.PutUnary(quotients[j]);
    }
  }
  low.Close();
  unary.Close();
}

TFSCALE_CLONES inline void EncodeRiceBlock(const RiceBlock& block, const Element* elements, int64_t number,
                                           Element step, Word* out) {
  const bool narrow = kTrits * Divisor(block.code).Width() <= 32;
  if (block.code & 1) {
    narrow ? EncodeBlock<true, true>(block, elements, number, step, out)
           : EncodeBlock<true, false>(block, elements, number, step, out);
  } else {
    narrow ? EncodeBlock<false, true>(block, elements, number, step, out)
           : EncodeBlock<false, false>(block, elements, number, step, out);
  }
}

// The code and the size of all blocks.
inline std::vector<RiceBlock> PlanRice(const ParallelFor& parallel, const Element* elements, int64_t count,
                                       Element step) {
  std::vector<RiceBlock> blocks(BlocksOf(count));
  parallel(static_cast<int64_t>(blocks.size()), kBlock * 2, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) blocks[i] = PlanBlock(elements, count, i, step);
  });
  return blocks;
}

// Writes the payload, `length` words.
inline void EncodeRice(const ParallelFor& parallel, const std::vector<RiceBlock>& blocks, const Element* elements,
                       int64_t length, Element step, Word* out) {
  std::memset(out, 0, length * sizeof(Word));
  parallel(static_cast<int64_t>(blocks.size()), kBlock * 8, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) EncodeRiceBlock(blocks[i], elements, i, step, out);
  });
}

}  // namespace tfscale

#endif  // TFSCALE_KERNELS_RICE_ENCODE_H_
