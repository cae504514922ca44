// Golomb-Rice coded gaps; see codecs/rice.py for the layout and the choice of the parameter.
#ifndef TFSCALE_KERNELS_RICE_H_
#define TFSCALE_KERNELS_RICE_H_

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "message.h"

namespace tfscale {

constexpr int64_t kBlock = 16384;  // sent elements a block
constexpr int kTrits = 5;         // base-3 digits a byte
constexpr int kLargestCode = 61;
constexpr int kUp[2] = {1866, 1665};  // thousandths of the divisor: a larger mean gap wants the next; even and odd codes

// Code 2k divides by 2^k, code 2k + 1 by 3 * 2^(k - 1).
struct Divisor {
  explicit Divisor(int code) : code(code), trit(code & 1), low(code / 2 - trit), value((trit ? 3ULL : 1ULL) << low) {}
  int Width() const { return low + 1; }  // bits of the low field: remainder and sign
  int code, trit, low;
  uint64_t value;
};

// The first code whose divisor suits gaps with sum `span` over `gaps` gaps.
inline int ChooseCode(int64_t span, int64_t gaps) {
  int code = 0;
  while (code < kLargestCode) {
    const Divisor here(code);
    if ((2 * span + gaps) * 1000 <= static_cast<int64_t>(2 * gaps * here.value) * kUp[here.trit]) break;
    code += code == 0 ? 2 : 1;
  }
  return code;
}

struct RiceBlock {
  int64_t first, count;           // sent elements
  int code;
  int64_t low, trit, unary;       // words of each plane
  int64_t low_at, trit_at, unary_at;
  int64_t Words() const { return low + trit + unary; }
};

inline int64_t BlocksOf(int64_t count) { return (count + kBlock - 1) / kBlock; }

inline void FixedPlanes(RiceBlock* block) {
  const Divisor divisor(block->code);
  const int64_t gaps = block->count - 1;
  block->low = (gaps * divisor.Width() + 31) / 32;
  block->trit = divisor.trit ? ((gaps + kTrits - 1) / kTrits + 3) / 4 : 0;
}

inline Sent Third(Sent value) { return static_cast<Sent>(value * 0xaaaaaaabULL >> 33); }

// Of the gaps between the first element and `gaps` more.
template <bool kTrit>
TFSCALE_CLONES uint64_t SumQuotients(const Sent* own, int64_t gaps, int low) {
  uint64_t total = 0;
  for (int64_t i = 1; i <= gaps; ++i) {
    const Sent high = ((own[i] >> 1) - (own[i - 1] >> 1) - 1U) >> low;
    total += kTrit ? Third(high) : high;
  }
  return total;
}

// All planes of one kind stand together: the table, low fields, base-3 digits, quotients.
inline int64_t Place(std::vector<RiceBlock>* blocks) {
  int64_t at = 2 * static_cast<int64_t>(blocks->size());
  for (auto& block : *blocks) at += (block.low_at = at, block.low);
  for (auto& block : *blocks) at += (block.trit_at = at, block.trit);
  for (auto& block : *blocks) at += (block.unary_at = at, block.unary);
  return at;
}

// What a block of sent elements will take.
inline RiceBlock PlanBlock(const Sent* sent, int64_t total, int64_t number) {
  RiceBlock block{};
  block.first = number * kBlock;
  block.count = std::min(kBlock, total - block.first);
  const Sent* own = sent + block.first;
  const int64_t gaps = block.count - 1;
  const int64_t span = gaps == 0 ? 0 : static_cast<int64_t>(own[gaps] >> 1) - (own[0] >> 1) - gaps;
  block.code = gaps == 0 ? 0 : ChooseCode(span, gaps);
  FixedPlanes(&block);
  const Divisor divisor(block.code);
  const uint64_t bits = gaps + (divisor.trit ? SumQuotients<true>(own, gaps, divisor.low)
                                             : SumQuotients<false>(own, gaps, divisor.low));
  block.unary = (bits + 31) / 32;
  return block;
}

// Bits that are written one after the other, through a register.
class Plane {
 public:
  explicit Plane(Word* out) : out_(out) {}
  // 1 to 32 bits, of which those of `value` above them are 0. Without a branch: what is not full is written, too.
  TFSCALE_INLINE void Put(uint64_t value, int width) {
    bits_ |= value << filled_;
    filled_ += width;
    *out_ = static_cast<Word>(bits_);
    const unsigned full = filled_ / 32;
    out_ += full;
    bits_ >>= 32 * full;
    filled_ %= 32;
  }
  // So many zeros, and a one.
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
TFSCALE_INLINE void PackBlock(const RiceBlock& block, const Sent* sent, int64_t number, Word* out) {
  const Divisor divisor(block.code);
  const Sent* own = sent + block.first;
  out[2 * number] = own[0];
  out[2 * number + 1] = static_cast<Word>(block.code) << 24 | static_cast<Word>(block.unary);
  Plane low(out + block.low_at), unary(out + block.unary_at);
  unsigned char* trits = reinterpret_cast<unsigned char*>(out + block.trit_at);
  const int width = divisor.Width(), shift = divisor.low;
  const Sent low_mask = (1U << shift) - 1;
  constexpr unsigned kWeights[kTrits] = {1, 3, 9, 27, 81};
  // A few gaps at a time, so that what one of them adds to a plane does not wait for what the one before has.
  for (int64_t i = 1; i < block.count; i += kTrits) {
    const int some = static_cast<int>(std::min<int64_t>(kTrits, block.count - i));
    uint64_t fields = 0, ones = 0;
    unsigned byte = 0, length = 0;
    Sent quotients[kTrits];
#pragma GCC unroll 5
    for (int j = 0; j < kTrits; ++j) {
      if (j == some) break;
      const Sent here = own[i + j], gap = (here >> 1) - (own[i + j - 1] >> 1) - 1U, high = gap >> shift;
      const Sent quotient = quotients[j] = kTrit ? Third(high) : high;
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

TFSCALE_CLONES inline void PackRice(const RiceBlock& block, const Sent* sent, int64_t number, Word* out) {
  const bool narrow = kTrits * Divisor(block.code).Width() <= 32;
  if (block.code & 1) {
    narrow ? PackBlock<true, true>(block, sent, number, out) : PackBlock<true, false>(block, sent, number, out);
  } else {
    narrow ? PackBlock<false, true>(block, sent, number, out) : PackBlock<false, false>(block, sent, number, out);
  }
}

// Reads the table and checks it against the payload's length. Returns what is wrong, or nothing.
inline std::string ReadTable(const Word* in, int64_t length, int64_t count, std::vector<RiceBlock>* blocks) {
  const int64_t number = BlocksOf(count);
  if (length < 2 * number) return "a table that is cut off";
  for (int64_t i = 0; i < number; ++i) {
    RiceBlock block{};
    block.first = i * kBlock;
    block.count = std::min(kBlock, count - block.first);
    block.code = static_cast<int>(in[2 * i + 1] >> 24);
    block.unary = in[2 * i + 1] & 0xffffffU;
    if (block.code == 1 || block.code > kLargestCode) return "an unknown divisor";
    FixedPlanes(&block);
    blocks->push_back(block);
  }
  return Place(blocks) == length ? "" : "a length that its table does not explain";
}

// 33 bits or more from the bit `at` on; reads eight bytes, or, near the end of the message, what there is of them.
template <bool kInside>
TFSCALE_INLINE uint64_t GetBits(const Word* plane, uint64_t at, const Word* end) {
  uint64_t both = 0;
  if (kInside) {
    std::memcpy(&both, plane + at / 32, sizeof both);
  } else {
    both = plane[at / 32];
    if (plane + at / 32 + 1 < end) both |= static_cast<uint64_t>(plane[at / 32 + 1]) << 32;
  }
  return both >> (at % 32);
}

// The five base-3 digits of each byte, a byte each.
struct Digits {
  Digits() {
    for (unsigned byte = 0; byte < 256; ++byte) {
      unsigned rest = byte;
      for (int i = 0; i < 8; ++i, rest /= 3) of[byte][i] = rest % 3;
    }
  }
  // Writes the digits of `gaps` gaps, and a few more bytes.
  void Spread(const unsigned char* packed, int64_t gaps, unsigned char* out) const {
    for (int64_t i = 0; i < gaps; i += kTrits) std::memcpy(out + i, of[*packed++], 8);
  }
  unsigned char of[256][8];
};

template <bool kTrit, bool kInside>
TFSCALE_INLINE bool UnpackBlock(const RiceBlock& block, const Word* in, const Word* end, int64_t number, int64_t size,
                                Sent* out) {
  static const Digits digits;
  const Divisor divisor(block.code);
  const Word* low = in + block.low_at;
  const Word* unary = in + block.unary_at;
  unsigned char thirds[kTrit ? kBlock + 8 : 1];  // of the gap before each element
  if (kTrit) digits.Spread(reinterpret_cast<const unsigned char*>(in + block.trit_at), block.count - 1, thirds + 1);
  const int width = divisor.Width(), shift = divisor.low;
  const uint64_t mask = (1ULL << width) - 1;
  Sent* own = out + block.first;
  own[0] = in[2 * number];
  uint64_t index = own[0] >> 1, at = 0;
  uint64_t before = ~0ULL;  // place of the last terminator
  int64_t i = 1;
  for (int64_t word = 0; word < block.unary; word += 2) {
    uint64_t rest = unary[word];
    if (word + 1 < block.unary) rest |= static_cast<uint64_t>(unary[word + 1]) << 32;
    const int ones = __builtin_popcountll(rest);
    if (i + ones > block.count) return false;
    const uint64_t base = static_cast<uint64_t>(word) * 32;
    for (const int64_t last = i + ones; i < last; rest &= rest - 1, ++i) {
      const uint64_t place = base + __builtin_ctzll(rest);
      uint64_t high = place - before - 1;
      before = place;
      if (kTrit) high = 3 * high + thirds[i];
      const uint64_t field = GetBits<kInside>(low, at, end) & mask;
      at += width;
      index += (high << shift) + (field >> 1) + 1;
      own[i] = static_cast<Sent>(index << 1 | (field & 1U));
    }
    if (index >= static_cast<uint64_t>(size)) return false;
  }
  return i == block.count && index < static_cast<uint64_t>(size);
}

// Every block but the last ones can be read eight bytes at a time.
TFSCALE_CLONES inline bool UnpackAny(const RiceBlock& block, const Word* in, const Word* end, int64_t number,
                                     int64_t size, Sent* out) {
  const bool trit = block.code & 1, inside = in + block.low_at + block.low + 2 <= end;
  if (inside) {
    return trit ? UnpackBlock<true, true>(block, in, end, number, size, out)
                : UnpackBlock<false, true>(block, in, end, number, size, out);
  }
  return trit ? UnpackBlock<true, false>(block, in, end, number, size, out)
              : UnpackBlock<false, false>(block, in, end, number, size, out);
}

inline std::string UnpackRice(const Word* in, int64_t length, int64_t count, int64_t size, Sent* out) {
  std::vector<RiceBlock> blocks;
  const std::string wrong = ReadTable(in, length, count, &blocks);
  if (!wrong.empty()) return wrong;
  int64_t last = -1;
  for (int64_t i = 0; i < static_cast<int64_t>(blocks.size()); ++i) {
    const bool good = UnpackAny(blocks[i], in, in + length, i, size, out);
    if (!good || static_cast<int64_t>(out[blocks[i].first] >> 1) <= last) return "gaps that lead out of the model";
    last = out[blocks[i].first + blocks[i].count - 1] >> 1;
  }
  return "";
}

// A payload of any code. Returns what is wrong, or nothing.
inline std::string Unpack(Word format, const Word* in, int64_t length, int64_t count, int64_t size, Sent* out) {
  switch (format) {
    case kWord32: return UnpackWord32(in, length, count, size, out);
    case kBitmap: return UnpackBitmap(in, length, count, size, out);
    case kRice: return UnpackRice(in, length, count, size, out);
    default: return "an unknown format";
  }
}

}  // namespace tfscale

#endif  // TFSCALE_KERNELS_RICE_H_
