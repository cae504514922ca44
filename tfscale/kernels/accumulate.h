// Stage 1, accumulate: a contribution joins a replica's residual, and what reaches its threshold is taken out.
#ifndef TFSCALE_KERNELS_ACCUMULATE_H_
#define TFSCALE_KERNELS_ACCUMULATE_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "accumulate_pass.h"
#include "layout.h"
#include "message.h"
#include "parallel.h"

namespace tfscale {

// Keeps memory from step to step: new pages at every step would cost more than the pass itself if much is sent. One
// caller at a time.
class Accumulator {
 public:
  Accumulator(Layout layout, Momentum kind, float momentum, int levels, bool masking)
      : layout_(std::move(layout)),
        kind_(kind),
        momentum_(momentum),
        levels_(levels),
        masking_(masking) {
    buffers_.resize(layout_.chunks.size());
    passes_.resize(layout_.chunks.size());
  }

  const Layout& layout() const { return layout_; }
  bool has_momentum() const { return kind_ != kNone; }

  // Returns true if every element was usable. If not, nothing is sent: what was taken returns to the residual.
  //
  // residual, velocity (null without momentum), contribution: [D]; peaks: [T]; dense_values: [F].
  bool Run(const ParallelFor& parallel, float* residual, float* velocity, const float* contribution,
           const Thresholds& thresholds, float* peaks, float* dense_values) {
    // A thread lists elements in memory of its own, 4 bytes an element and level, touched only where something is sent.
    const int64_t cost = kChunk * (kind_ == kNone ? 1 : 2);
    parallel(static_cast<int64_t>(passes_.size()), cost, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const Range& chunk = layout_.chunks[i];
        if (buffers_[i] == nullptr) buffers_[i].reset(new Element[levels_ * chunk.length + kSpare]);
        passes_[i] = Pass{residual + chunk.start, velocity == nullptr ? nullptr : velocity + chunk.start,
                          contribution + chunk.start, chunk.start, chunk.length, thresholds.Of(chunk.tensor), momentum_,
                          levels_, masking_, buffers_[i].get(), 0, 0, true};
        RunPass(kind_, &passes_[i]);
      }
    });
    FindPeaks(peaks);
    usable_ = AddAllDense(velocity, contribution, dense_values);
    for (const Pass& pass : passes_) usable_ = usable_ && pass.usable;
    if (!usable_) {
      for (const Pass& pass : passes_) TakeBack(pass);
    }
    return usable_;
  }

  // Number of elements that the last run sends.
  int64_t Count() const {
    int64_t count = 0;
    for (const Pass& pass : passes_) count += pass.count;
    return usable_ ? count : 0;
  }

  // Writes those elements, Count() of them, in ascending order.
  void CopyElements(Element* out) const {
    if (!usable_) return;
    for (const Pass& pass : passes_) {
      std::memcpy(out, pass.sent, pass.count * sizeof(Element));
      out += pass.count;
    }
  }

 private:
  void FindPeaks(float* peaks) const {
    std::fill_n(peaks, layout_.sizes.size(), 0.0f);
    for (size_t i = 0; i < passes_.size(); ++i) {
      float peak;
      std::memcpy(&peak, &passes_[i].peak, sizeof peak);
      float& largest = peaks[layout_.chunks[i].tensor];
      largest = std::max(largest, peak);
    }
  }

  bool AddAllDense(float* velocity, const float* contribution, float* out) const {
    bool usable = true;
    for (int64_t tensor = 0; tensor < layout_.Tensors(); ++tensor) {
      if (!layout_.dense[tensor]) continue;
      const int64_t start = layout_.starts[tensor], length = layout_.sizes[tensor];
      float* moving = velocity == nullptr ? nullptr : velocity + start;
      const bool good = AddDense(moving, contribution + start, length, momentum_, kind_, out);
      usable = usable && good;
      out += length;
    }
    return usable;
  }

  static void TakeBack(const Pass& pass) {
    for (int64_t i = 0; i < pass.count; ++i) {
      const Element element = pass.sent[i];
      pass.residual[(element >> 1) - pass.first] += element & 1U ? -pass.threshold : pass.threshold;
    }
  }

  Layout layout_;
  Momentum kind_;
  float momentum_;
  int levels_;
  bool masking_, usable_ = false;
  std::vector<std::unique_ptr<Element[]>> buffers_;  // of each chunk, made when it is first run
  std::vector<Pass> passes_;
};

}  // namespace tfscale

#endif  // TFSCALE_KERNELS_ACCUMULATE_H_
