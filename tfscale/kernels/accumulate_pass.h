// The pass over all D elements, at the speed of memory: add the contribution, find what reaches the threshold, list it,
// subtract.
//
// Magnitudes are compared as integers, because the compiler vectorizes those without being allowed to reorder sums.
// Compiled without contraction to FMA, so every result has the bits of the TensorFlow operations in
// compression/backends/reference.py.
#ifndef TFSCALE_KERNELS_ACCUMULATE_PASS_H_
#define TFSCALE_KERNELS_ACCUMULATE_PASS_H_

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "message.h"
#include "platform.h"
#include "usable.h"

namespace tfscale {

constexpr int kSpan = 256;       // elements that are added before any of them is sent
constexpr int kGroup = 64;       // elements of a span that are looked at together, if something of it is sent
constexpr int kVector = 16;      // floats in the widest registers
constexpr int kSpare = kVector;  // a whole vector is stored, however few of its elements are sent
constexpr int kMuch = 2;         // elements sent of a span from which the next one is expected to send, too

// One thread's share of the pass: a chunk of one tensor.
struct Pass {
  float* residual;
  float* velocity;  // null without momentum
  const float* contribution;
  int64_t first;  // index of the first element in the model
  int64_t length;
  float threshold, momentum;
  int levels;  // most thresholds that are sent of an element
  bool masking;
  Element* sent;  // capacity: `levels` * `length` + kSpare elements
  // Results.
  int64_t count;
  int32_t peak;  // bits of the largest |residual| before sending
  bool usable;
};

enum Momentum { kNone, kHeavyBall, kNesterov };

// Adds at most kSpan contributions; returns the bits of the largest |residual|.
template <Momentum kMomentum>
TFSCALE_INLINE int32_t AddSpan(float* __restrict__ residual, float* __restrict__ velocity,
                               const float* __restrict__ contribution, int length, float momentum, int32_t* unusable) {
  int32_t peak = 0;
  for (int i = 0; i < length; ++i) {
    float added = contribution[i], moved = 0;
    if (kMomentum != kNone) {
      moved = momentum * velocity[i] + added;
      added = kMomentum == kNesterov ? added + momentum * moved : moved;
    }
    const float before = residual[i];
    const float after = before + added;
    const int32_t bits = MagnitudeBits(after);
    const bool good = bits < kUnusable;
    residual[i] = good ? after : before;
    if (kMomentum != kNone) velocity[i] = good ? moved : velocity[i];
    peak = std::max(peak, bits);
  }
  if (peak < kUnusable) return peak;
  *unusable = 1;
  peak = 0;
  for (int i = 0; i < length; ++i) peak = std::max(peak, MagnitudeBits(residual[i]));
  return peak;
}

// A mask of the elements that reach the threshold.
TFSCALE_INLINE uint64_t Hits(const float* residual, int length, int32_t threshold) {
  alignas(64) uint8_t hit[kGroup] = {};
  for (int i = 0; i < length; ++i) hit[i] = MagnitudeBits(residual[i]) >= threshold;
  uint64_t mask = 0;
  for (int i = 0; i < kGroup / 8; ++i) {
    uint64_t eight;
    std::memcpy(&eight, hit + 8 * i, 8);
    mask |= (eight * 0x0102040810204080ULL >> 56) << (8 * i);
  }
  return mask;
}

// Lists what reaches the threshold, subtracts the threshold up to `levels` times, and clears the velocity unless that
// is null.
TFSCALE_INLINE Element* SendGroup(float* residual, float* velocity, int length, int32_t bits, float threshold,
                                  int levels, Element base, Element* sent) {
  for (uint64_t mask = Hits(residual, length, bits); mask != 0; mask &= mask - 1) {
    const int position = __builtin_ctzll(mask);
    float value = residual[position];
    const bool negative = value < 0;
    const float quantum = negative ? -threshold : threshold;
    for (int taken = 0; taken < levels && MagnitudeBits(value) >= bits; ++taken) {
      *sent++ = base + (static_cast<Element>(position) << 1 | (negative ? 1U : 0U));
      value -= quantum;
    }
    residual[position] = value;
    if (velocity != nullptr) velocity[position] = 0.0f;
  }
  return sent;
}

#if defined(__x86_64__)
// AddSpan and SendGroup for a whole span, without a branch an element; without kAdds, SendGroup alone. If much is sent,
// the pass takes 0.6 of the time when nothing is stored in between. The bits are those of the two functions above.
template <Momentum kMomentum, bool kAdds>
__attribute__((target("avx512f"))) inline Element* SendSpan(float* __restrict__ residual, float* __restrict__ velocity,
                                                         const float* __restrict__ contribution, float momentum,
                                                         float threshold, bool masking, Element base, Element* sent,
                                                         int32_t* peak, int32_t* unusable) {
  const __m512i step = _mm512_set1_epi32(2 * kVector), sign_bit = _mm512_set1_epi32(~kMagnitude);
  __m512i position = _mm512_add_epi32(
      _mm512_set1_epi32(base), _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0));
  const __m512i absolute = _mm512_set1_epi32(kMagnitude), limit = _mm512_set1_epi32(kUnusable);
  const __m512i quantum = _mm512_castps_si512(_mm512_set1_ps(threshold));
  const __m512 factor = _mm512_set1_ps(momentum);
  __m512i largest = _mm512_setzero_si512();
  for (int i = 0; i < kSpan; i += kVector, position = _mm512_add_epi32(position, step)) {
    __m512 moved = _mm512_setzero_ps();
    __m512i value = _mm512_loadu_si512(residual + i);
    __mmask16 bad = 0;
    if (kAdds) {
      const __m512 before = _mm512_castsi512_ps(value);
      __m512 added = _mm512_loadu_ps(contribution + i);
      if (kMomentum != kNone) {
        moved = _mm512_add_ps(_mm512_mul_ps(factor, _mm512_loadu_ps(velocity + i)), added);
        added = kMomentum == kNesterov ? _mm512_add_ps(added, _mm512_mul_ps(factor, moved)) : moved;
      }
      value = _mm512_castps_si512(_mm512_add_ps(before, added));
      bad = _mm512_cmpge_epi32_mask(_mm512_and_si512(value, absolute), limit);
      if (__builtin_expect(bad != 0, 0)) {
        *unusable = 1;
        value = _mm512_mask_mov_epi32(value, bad, _mm512_castps_si512(before));
      }
    }
    const __m512i size = _mm512_and_si512(value, absolute);
    const __mmask16 hit = _mm512_cmpge_epi32_mask(size, quantum);
    if (!kAdds && hit == 0) continue;
    largest = _mm512_max_epi32(largest, size);
    const __m512i word = _mm512_add_epi32(position, _mm512_srli_epi32(value, 31));
    _mm512_storeu_si512(sent, _mm512_maskz_compress_epi32(hit, word));  // kSpare
    sent += __builtin_popcount(hit);
    // The sign of the value and the magnitude of the threshold.
    const __m512i taken = _mm512_ternarylogic_epi32(value, sign_bit, quantum, 0xea);
    const __m512 kept = _mm512_castsi512_ps(value);
    _mm512_storeu_ps(residual + i, _mm512_mask_sub_ps(kept, hit, kept, _mm512_castsi512_ps(taken)));
    if (kMomentum == kNone) continue;
    const __mmask16 cleared = masking ? hit : static_cast<__mmask16>(0);
    if (!kAdds) {
      _mm512_mask_storeu_ps(velocity + i, cleared, _mm512_setzero_ps());
      continue;
    }
    if (__builtin_expect(bad != 0, 0)) moved = _mm512_mask_loadu_ps(moved, bad, velocity + i);
    _mm512_storeu_ps(velocity + i, _mm512_maskz_mov_ps(static_cast<__mmask16>(~cleared), moved));
  }
  *peak = std::max(*peak, _mm512_reduce_max_epi32(largest));
  return sent;
}
#endif

template <Momentum kMomentum>
TFSCALE_INLINE void Run(Pass* pass) {
  const int32_t threshold = MagnitudeBits(pass->threshold);
  Element* sent = pass->sent;
  int32_t unusable = 0, peak = 0;
#if defined(__x86_64__)
  const bool wide = HasAvx512() && pass->levels == 1;
#endif
  int64_t recent = 0;  // elements sent of the last span
  float* cleared = pass->masking ? pass->velocity : nullptr;
  for (int64_t start = 0; start < pass->length; start += kSpan) {
    float* velocity = kMomentum == kNone ? nullptr : pass->velocity + start;
    const int64_t end = std::min<int64_t>(pass->length, start + kSpan);
    const Element* own = sent;
#if defined(__x86_64__)
    if (wide && recent >= kMuch && end - start == kSpan) {
      sent = SendSpan<kMomentum, true>(pass->residual + start, velocity, pass->contribution + start, pass->momentum,
                                       pass->threshold, pass->masking, static_cast<Element>(pass->first + start) << 1,
                                       sent, &peak, &unusable);
      recent = sent - own;
      continue;
    }
#endif
    const int32_t largest =
        end - start == kSpan ? AddSpan<kMomentum>(pass->residual + start, velocity, pass->contribution + start, kSpan,
                                                  pass->momentum, &unusable)
                             : AddSpan<kMomentum>(pass->residual + start, velocity, pass->contribution + start,
                                                  static_cast<int>(end - start), pass->momentum, &unusable);
    peak = std::max(peak, largest);
    if (largest >= threshold) {
#if defined(__x86_64__)
      if (wide && end - start == kSpan) {
        sent = SendSpan<kMomentum, false>(pass->residual + start, velocity, nullptr, 0, pass->threshold,
                                          pass->masking, static_cast<Element>(pass->first + start) << 1, sent, &peak,
                                          &unusable);
        recent = sent - own;
        continue;
      }
#endif
      for (int64_t at = start; at < end; at += kGroup) {
        sent = SendGroup(pass->residual + at, cleared == nullptr ? nullptr : cleared + at,
                         static_cast<int>(std::min<int64_t>(kGroup, end - at)), threshold, pass->threshold,
                         pass->levels, static_cast<Element>(pass->first + at) << 1, sent);
      }
    }
    recent = sent - own;
  }
  pass->count = sent - pass->sent;
  pass->peak = peak;
  pass->usable = unusable == 0;
}

TFSCALE_CLONES inline void RunWithoutMomentum(Pass* pass) { Run<kNone>(pass); }
TFSCALE_CLONES inline void RunHeavyBall(Pass* pass) { Run<kHeavyBall>(pass); }
TFSCALE_CLONES inline void RunNesterov(Pass* pass) { Run<kNesterov>(pass); }

inline void RunPass(Momentum momentum, Pass* pass) {
  momentum == kNone ? RunWithoutMomentum(pass) : momentum == kHeavyBall ? RunHeavyBall(pass) : RunNesterov(pass);
}

// Applies momentum to the contribution to a dense tensor, which has no residual. Returns true if all of it is usable.
inline bool AddDense(float* velocity, const float* contribution, int64_t length, float momentum, Momentum kind,
                      float* out) {
  bool usable = true;
  for (int64_t i = 0; i < length; ++i) {
    float added = contribution[i], moved = 0;
    if (kind != kNone) {
      moved = momentum * velocity[i] + added;
      added = kind == kNesterov ? added + momentum * moved : moved;
    }
    const bool good = MagnitudeBits(added) < kUnusable;
    usable = usable && good;
    if (kind != kNone && good) velocity[i] = moved;
    out[i] = added;
  }
  return usable;
}

}  // namespace tfscale

#endif  // TFSCALE_KERNELS_ACCUMULATE_PASS_H_
