// Payloads of any code: the shortest is written, and any is read.
#ifndef TFSCALE_KERNELS_PAYLOAD_H_
#define TFSCALE_KERNELS_PAYLOAD_H_

#include <cstdint>
#include <string>
#include <vector>

#include "bitmap.h"
#include "message.h"
#include "parallel.h"
#include "rice_decode.h"
#include "rice_encode.h"
#include "word32.h"

namespace tfscale {

constexpr int64_t kDensest = 16;          // elements of a word: no code takes fewer than two bits
constexpr int64_t kSpareElements = kLanes;  // decoders may write so many elements more than the payload has

struct PayloadPlan {
  Format format;
  int64_t length;                 // words
  std::vector<RiceBlock> blocks;  // of the rice code
};

// Plans the shortest payload of the allowed codes, a set of 1 << format; of equally short ones the first.
inline PayloadPlan PlanPayload(const ParallelFor& parallel, unsigned allowed, const Element* elements, int64_t count,
                               int64_t size, int levels) {
  PayloadPlan plan{kSkip, INT64_MAX, {}};
  const auto offer = [&](Format format, int64_t length) {
    if ((allowed >> format & 1U) && length < plan.length) plan.length = length, plan.format = format;
  };
  offer(kWord32, count);
  offer(kBitmap, BitmapWords(size));
  if (allowed >> kRice & 1U) {
    plan.blocks = PlanRice(parallel, elements, count, SmallestStep(levels));
    offer(kRice, PlacePlanes(&plan.blocks));
  }
  return plan;
}

inline void EncodePayload(const ParallelFor& parallel, const PayloadPlan& plan, const Element* elements, int64_t count,
                          int64_t size, int levels, Word* out) {
  if (plan.format == kWord32) EncodeWord32(elements, count, out);
  if (plan.format == kBitmap) EncodeBitmap(elements, count, size, out);
  if (plan.format == kRice) EncodeRice(parallel, plan.blocks, elements, plan.length, SmallestStep(levels), out);
}

// Returns what is wrong, or nothing: an element may stand up to `levels` times, and not beside its opposite.
inline std::string CheckRepeats(const Element* elements, int64_t count, int levels) {
  for (int64_t i = 1; i < count; ++i) {
    const bool again = elements[i] >> 1 == elements[i - 1] >> 1;
    if (!again) continue;
    if (elements[i] != elements[i - 1]) return "an element with both signs";
    if (i >= levels && elements[i] == elements[i - levels]) return "an element more often than it may stand";
  }
  return "";
}

// Returns what is wrong, or nothing. `out` has a capacity of `count` + kSpareElements.
inline std::string DecodeAnyPayload(Word format, const Word* in, int64_t length, int64_t count, int64_t size,
                                    Element step, Element* out) {
  switch (format) {
    case kWord32:
      return DecodeWord32(in, length, count, size, step, out);
    case kBitmap:
      return DecodeBitmap(in, length, count, size, out);
    case kRice:
      return DecodeRice(in, length, count, size, step, out);
    default:
      return "an unknown format";
  }
}

inline std::string DecodePayload(Word format, const Word* in, int64_t length, int64_t count, int64_t size, int levels,
                                 Element* out) {
  const std::string wrong = DecodeAnyPayload(format, in, length, count, size, SmallestStep(levels), out);
  return wrong.empty() && levels > 1 ? CheckRepeats(out, count, levels) : wrong;
}

}  // namespace tfscale

#endif  // TFSCALE_KERNELS_PAYLOAD_H_
