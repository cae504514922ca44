// The words of a message: what the plain TensorFlow operations in codecs/ write and read, bit for bit.
//
// See codecs/message.py for the header and codecs/{word32,bitmap,rice}.py for the payloads.
#ifndef TFSCALE_KERNELS_MESSAGE_H_
#define TFSCALE_KERNELS_MESSAGE_H_

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

// A function is compiled for several kinds of processors, and the loader takes the best one.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12
#define TFSCALE_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#elif defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define TFSCALE_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define TFSCALE_CLONES
#endif

#define TFSCALE_INLINE inline __attribute__((always_inline))

namespace tfscale {

using Word = uint32_t;    // of a message
using Sent = uint32_t;    // a sent element: index << 1 | negative
using Words = std::vector<Word>;

constexpr int kHeader = 6;
enum Format : Word { kVoid = 0, kWord32 = 1, kBitmap = 2, kRice = 3, kOpening = 4 };

inline Word FormatOf(const Word* message) { return message[0] & 0xffU; }
inline Word StrainOf(const Word* message) { return message[0] >> 8 & 0xffU; }

enum Field { kFormat = 0, kStep = 1, kThreshold = 2, kCount = 3, kDigest = 4, kChecksum = 5 };

inline Word Mix(Word x) {
  x ^= x >> 16;
  x *= 0x7feb352dU;
  x ^= x >> 15;
  x *= 0x846ca68bU;
  return x ^ (x >> 16);
}

// Every word passes through a permutation that depends on its place, so no single wrong word goes unseen.
TFSCALE_CLONES inline Word Checksum(const Word* message, int64_t length) {
  Word total = static_cast<Word>(length);
  for (int64_t i = 0; i < length; ++i) {
    if (i != kChecksum) total += Mix(message[i] + static_cast<Word>(i + 1) * 0x9e3779b9U);
  }
  return total;
}

// Of a word in a digest, by its place: odd, so that no wrong word goes unseen.
constexpr Word kFactor = 0x9e3779b1U;
TFSCALE_INLINE Word FactorOf(Word place) { return (2 * place + 1) * kFactor; }

// A lane's factor is got from its last one by an addition, so that the loop over lanes becomes vectors of any width.
TFSCALE_CLONES inline uint64_t SumLanes(const Word* words, int64_t length, Word start) {
  constexpr int kLanes = 32;
  Word factor[kLanes];
  uint64_t part[kLanes] = {};
  for (int lane = 0; lane < kLanes; ++lane) factor[lane] = FactorOf(start + static_cast<Word>(lane));
  int64_t i = 0;
  for (; i + kLanes <= length; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      part[lane] += static_cast<uint64_t>(words[i + lane]) * factor[lane];
      factor[lane] += 2 * kLanes * kFactor;
    }
  }
  for (int lane = 0; i < length; ++i, ++lane) part[lane] += static_cast<uint64_t>(words[i]) * factor[lane];
  uint64_t total = 0;
  for (const uint64_t each : part) total += each;
  return total;
}

#if defined(__x86_64__)
inline bool HasAvx512() {
  static const bool has = __builtin_cpu_supports("avx512f");
  return has;
}

// The same for pairs of vectors: a multiplication takes every other word as it is. They are fetched past the caches in
// which training has what it needs next: that takes longer alone, but of a step of LeNet half of what it took before.
__attribute__((target("avx512f"))) inline uint64_t SumPairs(const Word* words, int64_t pairs, Word start) {
  constexpr int kVector = 16;
  constexpr int kAhead = 512;  // words to what is fetched
  alignas(64) Word factors[2 * kVector];
  for (int i = 0; i < 2 * kVector; ++i) factors[i] = FactorOf(start + static_cast<Word>(i));
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

// A digest's share of some words, the first of which has the number `start`: cheap, for parameters by the million.
inline uint64_t SumWords(const Word* words, int64_t length, Word start) {
#if defined(__x86_64__)
  if (HasAvx512()) {
    const int64_t pairs = length / 32, done = 32 * pairs;
    return SumPairs(words, pairs, start) + SumLanes(words + done, length - done, start + static_cast<Word>(done));
  }
#endif
  return SumLanes(words, length, start);
}

inline int64_t BitmapWords(int64_t size) { return (size + 15) / 16; }

inline void PackBitmap(const Sent* sent, int64_t count, int64_t size, Word* out) {
  std::memset(out, 0, BitmapWords(size) * sizeof(Word));
  for (int64_t i = 0; i < count; ++i) {
    const uint64_t index = sent[i] >> 1;
    out[index / 16] |= (1U + (sent[i] & 1U)) << (2 * (index % 16));
  }
}

// Returns what is wrong, or nothing.
inline std::string UnpackBitmap(const Word* in, int64_t length, int64_t count, int64_t size, Sent* out) {
  if (length != BitmapWords(size)) return "a bitmap of another length";
  int64_t found = 0;
  for (int64_t i = 0; i < length; ++i) {
    for (Word rest = in[i]; rest != 0;) {
      const int place = __builtin_ctz(rest) / 2;
      const Word code = (rest >> (2 * place)) & 3U;
      const uint64_t index = static_cast<uint64_t>(i) * 16 + place;
      if (code == 3U || index >= static_cast<uint64_t>(size) || found == count) return "a wrong bitmap";
      out[found++] = static_cast<Sent>(index << 1 | (code - 1U));
      rest &= ~(3U << (2 * place));
    }
  }
  return found == count ? "" : "fewer elements than it says";
}

inline std::string UnpackWord32(const Word* in, int64_t length, int64_t count, int64_t size, Sent* out) {
  if (length != count) return "a list of another length";
  int64_t last = -1;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t index = in[i] >> 1;
    if (index <= last || index >= size) return "indices out of order";
    last = index;
    out[i] = in[i];
  }
  return "";
}

}  // namespace tfscale

#endif  // TFSCALE_KERNELS_MESSAGE_H_
