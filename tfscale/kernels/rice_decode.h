// Decodes Golomb-Rice coded gaps, and verifies them: a payload may come from anywhere.
#ifndef TFSCALE_KERNELS_RICE_DECODE_H_
#define TFSCALE_KERNELS_RICE_DECODE_H_

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "platform.h"
#include "rice.h"

namespace tfscale {

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
  return PlacePlanes(blocks) == length ? "" : "a length that its table does not explain";
}

// Reads 33 bits or more from the bit `at` on: of eight bytes, or, near the end of the message, of those that are left.
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
  // Writes the digits of `gaps` gaps, and up to seven bytes more.
  void Spread(const unsigned char* packed, int64_t gaps, unsigned char* out) const {
    for (int64_t i = 0; i < gaps; i += kTrits) std::memcpy(out + i, of[*packed++], 8);
  }
  unsigned char of[256][8];
};

// Calls each(i, position) with the position of the one that ends the quotient of element i, for all but the first
// element. Returns true if the block has as many ones as it should; never calls for an element that it does not have.
template <typename Each>
TFSCALE_INLINE bool Walk(const RiceBlock& block, const Word* unary, const Each& each) {
  int64_t i = 1;
  for (int64_t word = 0; word < block.unary; word += 2) {
    uint64_t rest = unary[word];
    if (word + 1 < block.unary) rest |= static_cast<uint64_t>(unary[word + 1]) << 32;
    const int64_t last = i + __builtin_popcountll(rest);
    if (last > block.count) return false;
    const uint32_t base = static_cast<uint32_t>(word) * 32;
    for (; i < last; rest &= rest - 1, ++i) each(i, base + static_cast<uint32_t>(__builtin_ctzll(rest)));
  }
  return i == block.count;
}

template <bool kTrit, bool kInside>
TFSCALE_INLINE bool DecodeBlock(const RiceBlock& block, const Word* in, const Word* end, int64_t number, int64_t size,
                                Element step, Element* out) {
  static const Digits digits;
  const Divisor divisor(block.code);
  const Word* low = in + block.low_at;
  unsigned char thirds[kTrit ? kBlock + 8 : 1];  // base-3 digit of the gap before each element
  if (kTrit) digits.Spread(reinterpret_cast<const unsigned char*>(in + block.trit_at), block.count - 1, thirds + 1);
  const int width = divisor.Width(), shift = divisor.low;
  const uint64_t mask = (1ULL << width) - 1;
  Element* own = out + block.first;
  own[0] = in[2 * number];
  uint64_t index = own[0] >> 1, at = 0;  // below 2^64: a block's quotients have 2^29 bits, a divisor 2^32
  uint32_t before = ~0U;                 // position of the last one
  const auto each = [&](int64_t i, uint32_t position) __attribute__((always_inline)) {
    uint64_t high = position - before - 1;
    before = position;
    if (kTrit) high = 3 * high + thirds[i];
    const uint64_t field = GetBits<kInside>(low, at, end) & mask;
    at += width;
    index += (high << shift) + (field >> 1) + step;
    own[i] = static_cast<Element>(index << 1 | (field & 1U));
  };
  return Walk(block, in + block.unary_at, each) && index < static_cast<uint64_t>(size);
}

constexpr int kLanes = 8;
constexpr int kNarrowest = 7;  // bits of a field: any kLanes of them are then within eight bytes
// Remainders cannot lead from an index below this one beyond 31 bits.
constexpr int64_t kFarthest = (1LL << 31) - 3 * (kBlock << kNarrowest);
using Lanes = uint32_t __attribute__((vector_size(4 * kLanes)));
using WideLanes = uint64_t __attribute__((vector_size(8 * kLanes)));
using ByteLanes = unsigned char __attribute__((vector_size(kLanes)));

// Shuffles zeros, numbered 0 to 7, and the lanes of `v`, numbered from 8 on.
#if defined(__clang__)
#define TFSCALE_LATER(v, ...) __builtin_shufflevector(Lanes{}, v, __VA_ARGS__)
#else
#define TFSCALE_LATER(v, ...) __builtin_shuffle(Lanes{}, v, Lanes{__VA_ARGS__})
#endif

// DecodeBlock for narrow fields, as blocks of high density have: quotients first, then eight gaps at a time. Writes and
// reads up to kLanes - 1 elements more than the block has.
template <bool kTrit>
TFSCALE_INLINE bool DecodeNarrow(const RiceBlock& block, const Word* in, int64_t number, int64_t size, Element step,
                                 Element* out) {
  static const Digits digits;
  const Divisor divisor(block.code);
  const unsigned char* low = reinterpret_cast<const unsigned char*>(in + block.low_at);
  unsigned char thirds[kTrit ? kBlock + 2 * kLanes : 1];
  if (kTrit) digits.Spread(reinterpret_cast<const unsigned char*>(in + block.trit_at), block.count - 1, thirds + 1);
  uint32_t positions[kBlock + kLanes];  // of the ones that end quotients
  positions[0] = ~0U;
  const auto each = [&](int64_t i, uint32_t position) __attribute__((always_inline)) { positions[i] = position; };
  if (!Walk(block, in + block.unary_at, each)) return false;
  Element* own = out + block.first;
  own[0] = in[2 * number];
  uint32_t index = own[0] >> 1;
  const uint64_t quotients = static_cast<uint64_t>(positions[block.count - 1] + 1U) - (block.count - 1);
  if (index + quotients * divisor.value >= static_cast<uint64_t>(size)) return false;
  const unsigned width = divisor.Width(), shift = divisor.low;
  const uint64_t mask = (1ULL << width) - 1;
  const WideLanes shifts = WideLanes{0, 1, 2, 3, 4, 5, 6, 7} * width;
  uint64_t at = 0;
  for (int64_t i = 1; i < block.count; i += kLanes, at += kLanes * width) {
    uint64_t bits;
    Lanes here, before;
    ByteLanes third;
    std::memcpy(&bits, low + at / 8, sizeof bits);
    std::memcpy(&here, positions + i, sizeof here);
    std::memcpy(&before, positions + i - 1, sizeof before);
    const Lanes fields = __builtin_convertvector((WideLanes{} + (bits >> at % 8)) >> shifts & mask, Lanes);
    Lanes high = here - before - 1;
    if (kTrit) {
      std::memcpy(&third, thirds + i, sizeof third);
      high = 3 * high + __builtin_convertvector(third, Lanes);
    }
    Lanes sums = (high << shift) + (fields >> 1) + step;
    sums += TFSCALE_LATER(sums, 0, 8, 9, 10, 11, 12, 13, 14);
    sums += TFSCALE_LATER(sums, 0, 1, 8, 9, 10, 11, 12, 13);
    sums += TFSCALE_LATER(sums, 0, 1, 2, 3, 8, 9, 10, 11);
    sums += index;
    index = sums[kLanes - 1];
    sums = sums << 1 | (fields & 1);
    std::memcpy(own + i, &sums, sizeof sums);
  }
  return own[block.count - 1] >> 1 < static_cast<uint64_t>(size);
}

// Decodes a block, by vectors if its fields are narrow. All but the last blocks can be read eight bytes at a time.
TFSCALE_CLONES inline bool DecodeBlockOfAnyWidth(const RiceBlock& block, const Word* in, const Word* end,
                                                 int64_t number, int64_t size, Element step, Element* out) {
  const bool trit = block.code & 1, inside = in + block.low_at + block.low + 2 <= end;
  const bool narrow = Divisor(block.code).Width() <= kNarrowest;
  if (narrow && size < kFarthest && in + block.low_at + block.low + 2 + kLanes * kNarrowest / 32 <= end) {
    return trit ? DecodeNarrow<true>(block, in, number, size, step, out)
                : DecodeNarrow<false>(block, in, number, size, step, out);
  }
  if (inside) {
    return trit ? DecodeBlock<true, true>(block, in, end, number, size, step, out)
                : DecodeBlock<false, true>(block, in, end, number, size, step, out);
  }
  return trit ? DecodeBlock<true, false>(block, in, end, number, size, step, out)
              : DecodeBlock<false, false>(block, in, end, number, size, step, out);
}

// Returns what is wrong with the payload, or nothing. `out` has a capacity of `count` + kLanes elements.
inline std::string DecodeRice(const Word* in, int64_t length, int64_t count, int64_t size, Element step, Element* out) {
  std::vector<RiceBlock> blocks;
  const std::string wrong = ReadTable(in, length, count, &blocks);
  if (!wrong.empty()) return wrong;
  int64_t last = -1;
  for (int64_t i = 0; i < static_cast<int64_t>(blocks.size()); ++i) {
    const bool good = DecodeBlockOfAnyWidth(blocks[i], in, in + length, i, size, step, out);
    const int64_t first = out[blocks[i].first] >> 1;
    if (!good || first < last + step) return "gaps that lead out of the model";
    last = out[blocks[i].first + blocks[i].count - 1] >> 1;
  }
  return "";
}

}  // namespace tfscale

#endif  // TFSCALE_KERNELS_RICE_DECODE_H_
