// Restore: a replica's residual gets back what its message has taken, at a step that all replicas skip.
#ifndef TFSCALE_KERNELS_RESTORE_H_
#define TFSCALE_KERNELS_RESTORE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "layout.h"
#include "message.h"
#include "payload.h"

namespace tfscale {

// Returns what is wrong with the message, or nothing.
inline std::string Restore(const Layout& layout, const MessageView& message, const Thresholds& thresholds,
                           int levels, float* residual) {
  if (message.length < kHeader) return "shorter than its header";
  const Word format = FormatOf(message.words);
  if (format == kSkip || format == kProposal) return "";
  const int64_t count = message.words[kCount], length = message.length - kHeader - layout.dense_size;
  if (length < 0 || count > kDensest * length) return "it is cut off";
  std::vector<Element> elements(count + kSpareElements);
  const std::string wrong =
      DecodePayload(format, message.words + kHeader, length, count, layout.size, levels, elements.data());
  if (!wrong.empty()) return wrong;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t index = elements[i] >> 1;
    const float quantum = thresholds.count == 1 ? thresholds.values[0] : thresholds.Of(layout.TensorOf(index));
    residual[index] += elements[i] & 1U ? -quantum : quantum;
  }
  return "";
}

}  // namespace tfscale

#endif  // TFSCALE_KERNELS_RESTORE_H_
