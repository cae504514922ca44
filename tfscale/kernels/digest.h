// The digest of parameters: cheap enough for millions of them at every step. See digest.py.
#ifndef TFSCALE_KERNELS_DIGEST_H_
#define TFSCALE_KERNELS_DIGEST_H_

#include <cstdint>

#include "platform.h"

namespace tfscale {

// The factor of a word by its index: odd, so any single wrong word changes the digest.
constexpr uint32_t kFactor = 0x9e3779b1U;
TFSCALE_INLINE uint32_t FactorOf(uint32_t index) { return (2 * index + 1) * kFactor; }

// A lane's next factor is its last one plus a constant, so the loop over lanes becomes vectors of any width.
TFSCALE_CLONES inline uint64_t SumLanes(const uint32_t* words, int64_t length, uint32_t start) {
  constexpr int kLanes = 32;
  uint32_t factor[kLanes];
  uint64_t sum[kLanes] = {};
  for (int lane = 0; lane < kLanes; ++lane) factor[lane] = FactorOf(start + static_cast<uint32_t>(lane));
  int64_t i = 0;
  for (; i + kLanes <= length; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      sum[lane] += static_cast<uint64_t>(words[i + lane]) * factor[lane];
      factor[lane] += 2 * kLanes * kFactor;
    }
  }
  for (int lane = 0; i < length; ++i, ++lane) sum[lane] += static_cast<uint64_t>(words[i]) * factor[lane];
  uint64_t total = 0;
  for (const uint64_t lane_sum : sum) total += lane_sum;
  return total;
}

#if defined(__x86_64__)
// The same for pairs of vectors: a multiplication takes every other word as it is. Words are prefetched past the
// caches, in which training keeps what it needs next: slower alone, but half the cost within a step of LeNet.
__attribute__((target("avx512f"))) inline uint64_t SumPairs(const uint32_t* words, int64_t pairs, uint32_t start) {
  constexpr int kVector = 16;
  constexpr int kAhead = 512;  // words from the one in use to the one that is prefetched
  alignas(64) uint32_t factors[2 * kVector];
  for (int i = 0; i < 2 * kVector; ++i) factors[i] = FactorOf(start + static_cast<uint32_t>(i));
  const __m512i step = _mm512_set1_epi32(static_cast<int>(4 * kVector * kFactor));
  __m512i factor[2] = {_mm512_load_si512(factors), _mm512_load_si512(factors + kVector)};
  __m512i even[2] = {}, odd[2] = {};
  for (int64_t i = 0; i < pairs; ++i) {
    for (int half = 0; half < 2; ++half, words += kVector) {
      _mm_prefetch(reinterpret_cast<const char*>(words + kAhead), _MM_HINT_NTA);
      const __m512i some = _mm512_loadu_si512(words);
      even[half] = _mm512_add_epi64(even[half], _mm512_mul_epu32(some, factor[half]));
      odd[half] = _mm512_add_epi64(
          odd[half], _mm512_mul_epu32(_mm512_srli_epi64(some, 32), _mm512_srli_epi64(factor[half], 32)));
      factor[half] = _mm512_add_epi32(factor[half], step);
    }
  }
  return _mm512_reduce_add_epi64(
      _mm512_add_epi64(_mm512_add_epi64(even[0], odd[0]), _mm512_add_epi64(even[1], odd[1])));
}
#endif

// The share of some words in a digest; `start` is the index of the first. Shares add up mod 2^64.
inline uint64_t SumWords(const uint32_t* words, int64_t length, uint32_t start) {
#if defined(__x86_64__)
  if (HasAvx512()) {
    const int64_t pairs = length / 32, done = 32 * pairs;
    return SumPairs(words, pairs, start) + SumLanes(words + done, length - done, start + static_cast<uint32_t>(done));
  }
#endif
  return SumLanes(words, length, start);
}

// Folds the sum of all shares into the digest.
inline uint32_t FoldDigest(uint64_t total) { return static_cast<uint32_t>(total) ^ static_cast<uint32_t>(total >> 32); }

}  // namespace tfscale

#endif  // TFSCALE_KERNELS_DIGEST_H_
