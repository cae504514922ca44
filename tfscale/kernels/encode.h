// Stage 2, encode: a message with sparse elements, a threshold proposal, or neither.
#ifndef TFSCALE_KERNELS_ENCODE_H_
#define TFSCALE_KERNELS_ENCODE_H_

#include <cstdint>
#include <cstring>
#include <utility>

#include "checksum.h"
#include "message.h"
#include "parallel.h"
#include "payload.h"

namespace tfscale {

// The fields of a header that the caller knows.
struct HeaderFields {
  Word step, threshold, digest, residual_ratio;
};

// Float32 values, as a message has them.
struct FloatView {
  const float* values;
  int64_t count;
};

// One message, planned first, so that the caller can allocate Length() words, and then written.
class Encoder {
 public:
  // A skip message.
  static Encoder Skip() { return Encoder(PayloadPlan{kSkip, 0, {}}, nullptr, 0, {nullptr, 0}, {nullptr, 0}); }

  static Encoder Proposal(FloatView thresholds, FloatView dense_values) {
    return Encoder(PayloadPlan{kProposal, thresholds.count, {}}, nullptr, 0, thresholds, dense_values);
  }

  static Encoder Sparse(const ParallelFor& parallel, unsigned allowed, const Element* elements, int64_t count,
                        int64_t size, int levels, FloatView dense_values) {
    return Encoder(PlanPayload(parallel, allowed, elements, count, size, levels), elements, count, {nullptr, 0},
                   dense_values, size, levels);
  }

  int64_t Length() const { return kHeader + plan_.length + dense_values_.count; }

  void Write(const ParallelFor& parallel, const HeaderFields& header, Word* out) const {
    Word* payload = out + kHeader;
    if (plan_.format == kProposal) Copy(proposal_, payload);
    EncodePayload(parallel, plan_, elements_, count_, size_, levels_, payload);
    Copy(dense_values_, payload + plan_.length);
    out[kFormat] = plan_.format | header.residual_ratio << 8;
    out[kStep] = header.step;
    out[kThreshold] = header.threshold;
    out[kCount] = static_cast<Word>(count_);
    out[kDigest] = header.digest;
    out[kChecksum] = Checksum(out, Length());
  }

 private:
  Encoder(PayloadPlan plan, const Element* elements, int64_t count, FloatView proposal, FloatView dense_values,
          int64_t size = 0, int levels = 1)
      : plan_(std::move(plan)),
        elements_(elements),
        count_(count),
        size_(size),
        levels_(levels),
        proposal_(proposal),
        dense_values_(dense_values) {}

  static void Copy(FloatView from, Word* to) {
    if (from.count > 0) std::memcpy(to, from.values, from.count * sizeof(Word));
  }

  PayloadPlan plan_;
  const Element* elements_;
  int64_t count_, size_;
  int levels_;
  FloatView proposal_, dense_values_;
};

}  // namespace tfscale

#endif  // TFSCALE_KERNELS_ENCODE_H_
