// The pass over all D elements, at the speed of memory: residual += contribution, look, send, subtract.
//
// Floats are compared by their bits: for absolute values the order is the same, NaN lies above infinity, and the
// compiler vectorises whole numbers without being allowed to reorder sums. Compiled without contraction to FMA, so that
// every result has the bits of the plain TensorFlow operations in compressors/plain.py.
#ifndef TFSCALE_KERNELS_DENSE_PASS_H_
#define TFSCALE_KERNELS_DENSE_PASS_H_

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "message.h"

namespace tfscale {

constexpr int32_t kAbsolute = 0x7fffffff;
constexpr int32_t kUnsound = 0x5f000000;  // 2^63: from there on (and for Inf and NaN) an element is not used
constexpr int kSpan = 256;   // added at a time, then looked at as a whole
constexpr int kGroup = 64;   // of a span in which something is sent
constexpr int kVector = 16;  // floats in the widest registers
constexpr int kSpare = kVector;  // a vector is stored whole, however few of it are sent
constexpr int kMuch = 2;     // sent of a span: the next one is expected to send, too

TFSCALE_INLINE int32_t Bits(float value) {
  int32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits & kAbsolute;
}

struct Pass {
  float* residual;
  float* velocity;            // null without momentum
  const float* contribution;
  int64_t first;              // index of the first element in the model
  int64_t length;
  float threshold, momentum;
  bool masking;
  Sent* sent;                 // room for `length` elements and kSpare more
  // Results.
  int64_t count;
  int32_t peak;               // bits of the largest |residual| before sending
  bool sound;
};

enum Momentum { kNone, kHeavyBall, kNesterov };

// At most kSpan elements; returns the bits of the largest |residual| of them.
template <Momentum kMomentum>
TFSCALE_INLINE int32_t AddSpan(float* __restrict__ residual, float* __restrict__ velocity,
                               const float* __restrict__ contribution, int length, float momentum, int32_t* unsound) {
  int32_t peak = 0;
  for (int i = 0; i < length; ++i) {
    float added = contribution[i], moved = 0;
    if (kMomentum != kNone) {
      moved = momentum * velocity[i] + added;
      added = kMomentum == kNesterov ? added + momentum * moved : moved;
    }
    const float before = residual[i];
    const float after = before + added;
    const int32_t bits = Bits(after);
    const bool good = bits < kUnsound;
    residual[i] = good ? after : before;
    if (kMomentum != kNone) velocity[i] = good ? moved : velocity[i];
    peak = std::max(peak, bits);
  }
  if (peak < kUnsound) return peak;
  *unsound = 1;
  peak = 0;
  for (int i = 0; i < length; ++i) peak = std::max(peak, Bits(residual[i]));
  return peak;
}

// A bit an element that is to be sent.
TFSCALE_INLINE uint64_t Hits(const float* residual, int length, int32_t threshold) {
  alignas(64) uint8_t hit[kGroup] = {};
  for (int i = 0; i < length; ++i) hit[i] = Bits(residual[i]) >= threshold;
  uint64_t mask = 0;
  for (int i = 0; i < kGroup / 8; ++i) {
    uint64_t eight;
    std::memcpy(&eight, hit + 8 * i, 8);
    mask |= (eight * 0x0102040810204080ULL >> 56) << (8 * i);
  }
  return mask;
}

// What reaches the threshold is listed, and a quantum of it taken from residual (and velocity).
TFSCALE_INLINE Sent* SendGroup(float* residual, float* velocity, int length, int32_t bits, float threshold, Sent base,
                               Sent* sent) {
  for (uint64_t mask = Hits(residual, length, bits); mask != 0; mask &= mask - 1) {
    const int place = __builtin_ctzll(mask);
    const float value = residual[place];
    const bool negative = value < 0;
    *sent++ = base + (static_cast<Sent>(place) << 1 | (negative ? 1U : 0U));
    residual[place] = value - (negative ? -threshold : threshold);
    if (velocity != nullptr) velocity[place] = 0.0f;
  }
  return sent;
}

#if defined(__x86_64__)
// For a whole span, without a branch an element: what is above, or only its second part, where the first is done. Where
// much is sent the pass takes 0.6 of the time if nothing is stored in between. The bits are those of the two above.
template <Momentum kMomentum, bool kAdds>
__attribute__((target("avx512f"))) inline Sent* SendSpan(float* __restrict__ residual, float* __restrict__ velocity,
                                                         const float* __restrict__ contribution, float momentum,
                                                         float threshold, bool masking, Sent base, Sent* sent,
                                                         int32_t* peak, int32_t* unsound) {
  const __m512i step = _mm512_set1_epi32(2 * kVector), sign_bit = _mm512_set1_epi32(~kAbsolute);
  __m512i place = _mm512_add_epi32(
      _mm512_set1_epi32(base), _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0));
  const __m512i absolute = _mm512_set1_epi32(kAbsolute), limit = _mm512_set1_epi32(kUnsound);
  const __m512i quantum = _mm512_castps_si512(_mm512_set1_ps(threshold));
  const __m512 factor = _mm512_set1_ps(momentum);
  __m512i largest = _mm512_setzero_si512();
  for (int i = 0; i < kSpan; i += kVector, place = _mm512_add_epi32(place, step)) {
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
        *unsound = 1;
        value = _mm512_mask_mov_epi32(value, bad, _mm512_castps_si512(before));
      }
    }
    const __m512i size = _mm512_and_si512(value, absolute);
    const __mmask16 hit = _mm512_cmpge_epi32_mask(size, quantum);
    if (!kAdds && hit == 0) continue;
    largest = _mm512_max_epi32(largest, size);
    const __m512i word = _mm512_add_epi32(place, _mm512_srli_epi32(value, 31));
    _mm512_storeu_si512(sent, _mm512_maskz_compress_epi32(hit, word));  // the list has room for a vector more
    sent += __builtin_popcount(hit);
    const __m512i taken = _mm512_ternarylogic_epi32(value, sign_bit, quantum, 0xea);  // its sign, the quantum's size
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
  const int32_t threshold = Bits(pass->threshold);
  Sent* sent = pass->sent;
  int32_t unsound = 0, peak = 0;
#if defined(__x86_64__)
  const bool wide = HasAvx512();
#endif
  int64_t recent = 0;  // sent of the span before
  float* cleared = pass->masking ? pass->velocity : nullptr;
  for (int64_t start = 0; start < pass->length; start += kSpan) {
    float* velocity = kMomentum == kNone ? nullptr : pass->velocity + start;
    const int64_t end = std::min<int64_t>(pass->length, start + kSpan);
    const Sent* own = sent;
#if defined(__x86_64__)
    if (wide && recent >= kMuch && end - start == kSpan) {
      sent = SendSpan<kMomentum, true>(pass->residual + start, velocity, pass->contribution + start, pass->momentum,
                                       pass->threshold, pass->masking, static_cast<Sent>(pass->first + start) << 1,
                                       sent, &peak, &unsound);
      recent = sent - own;
      continue;
    }
#endif
    const int32_t largest =
        end - start == kSpan ? AddSpan<kMomentum>(pass->residual + start, velocity, pass->contribution + start, kSpan,
                                                  pass->momentum, &unsound)
                             : AddSpan<kMomentum>(pass->residual + start, velocity, pass->contribution + start,
                                                  static_cast<int>(end - start), pass->momentum, &unsound);
    peak = std::max(peak, largest);
    if (largest >= threshold) {
#if defined(__x86_64__)
      if (wide && end - start == kSpan) {
        sent = SendSpan<kMomentum, false>(pass->residual + start, velocity, nullptr, 0, pass->threshold, pass->masking,
                                          static_cast<Sent>(pass->first + start) << 1, sent, &peak, &unsound);
        recent = sent - own;
        continue;
      }
#endif
      for (int64_t at = start; at < end; at += kGroup) {
        sent = SendGroup(pass->residual + at, cleared == nullptr ? nullptr : cleared + at,
                         static_cast<int>(std::min<int64_t>(kGroup, end - at)), threshold, pass->threshold,
                         static_cast<Sent>(pass->first + at) << 1, sent);
      }
    }
    recent = sent - own;
  }
  pass->count = sent - pass->sent;
  pass->peak = peak;
  pass->sound = unsound == 0;
}

TFSCALE_CLONES void RunPlain(Pass* pass) { Run<kNone>(pass); }
TFSCALE_CLONES void RunHeavyBall(Pass* pass) { Run<kHeavyBall>(pass); }
TFSCALE_CLONES void RunNesterov(Pass* pass) { Run<kNesterov>(pass); }

// Adds to the velocity alone: what a tensor that is exchanged whole contributes.
inline bool MoveSmall(float* velocity, const float* contribution, int64_t length, float momentum, Momentum kind,
                      float* out) {
  bool sound = true;
  for (int64_t i = 0; i < length; ++i) {
    float added = contribution[i], moved = 0;
    if (kind != kNone) {
      moved = momentum * velocity[i] + added;
      added = kind == kNesterov ? added + momentum * moved : moved;
    }
    const bool good = Bits(added) < kUnsound;
    sound = sound && good;
    if (kind != kNone && good) velocity[i] = moved;
    out[i] = added;
  }
  return sound;
}

}  // namespace tfscale

#endif  // TFSCALE_KERNELS_DENSE_PASS_H_
