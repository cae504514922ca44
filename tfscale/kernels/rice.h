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

inline uint64_t Quotient(uint64_t gap, const Divisor& divisor) {
  const uint64_t high = gap >> divisor.low;
  return divisor.trit ? high / 3 : high;
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
  uint64_t bits = gaps;
  for (int64_t i = 1; i <= gaps; ++i) bits += Quotient((own[i] >> 1) - (own[i - 1] >> 1) - 1, divisor);
  block.unary = (bits + 31) / 32;
  return block;
}

// Writes one block; `out` is the zeroed payload.
template <bool kTrit>
inline void PackBlock(const RiceBlock& block, const Sent* sent, int64_t number, Word* out) {
  const Divisor divisor(block.code);
  const Sent* own = sent + block.first;
  out[2 * number] = own[0];
  out[2 * number + 1] = static_cast<Word>(block.code) << 24 | static_cast<Word>(block.unary);
  Word* unary = out + block.unary_at;
  unsigned char* trits = reinterpret_cast<unsigned char*>(out + block.trit_at);
  const int width = divisor.Width(), shift = divisor.low;
  const uint64_t low_mask = (1ULL << shift) - 1;
  uint64_t buffer = 0;  // the low fields are written through a register
  int filled = 0, digit = 0;
  unsigned weight = 1, byte = 0;
  Word* low = out + block.low_at;
  int64_t terminator = -1;
  Sent before = own[0] >> 1;
  for (int64_t i = 1; i < block.count; ++i) {
    const Sent here = own[i] >> 1;
    const uint64_t gap = here - before - 1U;
    before = here;
    uint64_t quotient = gap >> shift;
    if (kTrit) {
      const uint64_t third = quotient / 3;
      byte += static_cast<unsigned>(quotient - 3 * third) * weight;
      quotient = third;
      weight *= 3;
      if (++digit == kTrits) *trits++ = static_cast<unsigned char>(byte), byte = 0, weight = 1, digit = 0;
    }
    buffer |= ((gap & low_mask) << 1 | (own[i] & 1U)) << filled;
    filled += width;
    if (filled >= 32) *low++ = static_cast<Word>(buffer), buffer >>= 32, filled -= 32;
    terminator += static_cast<int64_t>(quotient) + 1;
    unary[terminator / 32] |= 1U << (terminator % 32);
  }
  if (filled > 0) *low = static_cast<Word>(buffer);
  if (kTrit && digit > 0) *trits = static_cast<unsigned char>(byte);
}

inline void PackRice(const RiceBlock& block, const Sent* sent, int64_t number, Word* out) {
  block.code & 1 ? PackBlock<true>(block, sent, number, out) : PackBlock<false>(block, sent, number, out);
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

inline uint64_t GetBits(const Word* plane, uint64_t at, const Word* end) {
  const Word* place = plane + at / 32;
  uint64_t both = *place;
  if (place + 1 < end) both |= static_cast<uint64_t>(place[1]) << 32;
  return both >> (at % 32);
}

template <bool kTrit>
inline bool UnpackBlock(const RiceBlock& block, const Word* in, const Word* end, int64_t number, int64_t size,
                        Sent* out) {
  const Divisor divisor(block.code);
  const Word* low = in + block.low_at;
  const unsigned char* trits = reinterpret_cast<const unsigned char*>(in + block.trit_at);
  const Word* unary = in + block.unary_at;
  const int width = divisor.Width(), shift = divisor.low;
  const uint64_t mask = (1ULL << width) - 1;
  Sent* own = out + block.first;
  own[0] = in[2 * number];
  uint64_t index = own[0] >> 1, at = 0;
  uint64_t before = ~0ULL;  // place of the last terminator
  int64_t i = 1;
  int digit = kTrits;
  unsigned byte = 0;
  for (int64_t word = 0; word < block.unary; word += 2) {
    uint64_t rest = unary[word];
    if (word + 1 < block.unary) rest |= static_cast<uint64_t>(unary[word + 1]) << 32;
    if (i + __builtin_popcountll(rest) > block.count) return false;
    for (const uint64_t base = static_cast<uint64_t>(word) * 32; rest != 0; rest &= rest - 1, ++i) {
      const uint64_t place = base + __builtin_ctzll(rest);
      uint64_t high = place - before - 1;
      before = place;
      if (kTrit) {
        if (digit == kTrits) byte = *trits++, digit = 0;
        high = 3 * high + byte % 3;
        byte /= 3;
        ++digit;
      }
      const uint64_t field = GetBits(low, at, end) & mask;
      at += width;
      index += (high << shift) + (field >> 1) + 1;
      own[i] = static_cast<Sent>(index << 1 | (field & 1U));
    }
    if (index >= static_cast<uint64_t>(size)) return false;
  }
  return i == block.count && index < static_cast<uint64_t>(size);
}

inline std::string UnpackRice(const Word* in, int64_t length, int64_t count, int64_t size, Sent* out) {
  std::vector<RiceBlock> blocks;
  const std::string wrong = ReadTable(in, length, count, &blocks);
  if (!wrong.empty()) return wrong;
  int64_t last = -1;
  for (int64_t i = 0; i < static_cast<int64_t>(blocks.size()); ++i) {
    const bool good = blocks[i].code & 1 ? UnpackBlock<true>(blocks[i], in, in + length, i, size, out)
                                         : UnpackBlock<false>(blocks[i], in, in + length, i, size, out);
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
