// TfscaleAccumulate: the dense pass over a replica's residual, on all threads of the device.
#ifndef TFSCALE_KERNELS_ACCUMULATE_H_
#define TFSCALE_KERNELS_ACCUMULATE_H_

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "dense_pass.h"
#include "absl/strings/str_cat.h"
#include "layout.h"

namespace tfscale {

class Accumulate : public tf::OpKernel {
 public:
  explicit Accumulate(tf::OpKernelConstruction* context) : OpKernel(context), layout_(context) {
    bool nesterov;
    OP_REQUIRES_OK(context, context->GetAttr("momentum", &momentum_));
    OP_REQUIRES_OK(context, context->GetAttr("nesterov", &nesterov));
    OP_REQUIRES_OK(context, context->GetAttr("masking", &masking_));
    kind_ = momentum_ == 0 ? kNone : nesterov ? kNesterov : kHeavyBall;
    int64_t small = 0;
    for (size_t i = 0; i < layout_.sizes.size(); ++i) {
      if (!layout_.whole[i]) continue;
      small_.push_back({static_cast<int64_t>(i), small, layout_.sizes[i]});
      small += layout_.sizes[i];
    }
  }

  void Compute(tf::OpKernelContext* context) override {
    tf::core::RefCountPtr<tf::Var> residual, velocity;
    OP_REQUIRES_OK(context, LookupResource(context, tf::HandleFromInput(context, 0), &residual));
    OP_REQUIRES_OK(context, LookupResource(context, tf::HandleFromInput(context, 1), &velocity));
    const tf::Tensor& contribution = context->input(2);
    const auto thresholds = context->input(3).flat<float>();
    OP_REQUIRES(context, contribution.NumElements() == layout_.size,
                absl::InvalidArgumentError(absl::StrCat("contribution has ", contribution.NumElements(), " elements, not ", layout_.size)));
    OP_REQUIRES(context, thresholds.size() == 1 || thresholds.size() == static_cast<int64_t>(layout_.sizes.size()),
                absl::InvalidArgumentError("there must be 1 threshold or one a tensor"));
    if (!context->input(4).scalar<bool>()()) {
      Refuse(context);
      return;
    }
    tf::mutex_lock lock(*residual->mu());
    float *own = nullptr, *moving = nullptr;
    OP_REQUIRES_OK(context, Exclusive(context, residual.get(), layout_.size, &own));
    std::unique_ptr<tf::mutex_lock> second;
    if (kind_ != kNone) {
      second = std::make_unique<tf::mutex_lock>(*velocity->mu());
      OP_REQUIRES_OK(context, Exclusive(context, velocity.get(), layout_.size, &moving));
    }
    const float* given = contribution.flat<float>().data();
    std::vector<Pass> passes(layout_.chunks.size());
    // A thread writes what it finds where nobody else does: 4 bytes an element, touched only where something is sent.
    // Kept from step to step: new pages every step would cost more than the pass itself when much is sent.
    tf::mutex_lock room(room_lock_);
    room_.resize(layout_.chunks.size());
    Parallel(context, layout_.chunks.size(), kChunk * (kind_ == kNone ? 1 : 2), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const Part& part = layout_.chunks[i];
        if (room_[i] == nullptr) room_[i].reset(new Sent[part.length + kSpare]);
        passes[i] = Pass{own + part.start, moving == nullptr ? nullptr : moving + part.start, given + part.start,
                         part.start, part.length, thresholds(thresholds.size() == 1 ? 0 : part.tensor), momentum_,
                         masking_, room_[i].get(), 0, 0, true};
        kind_ == kNone ? RunPlain(&passes[i]) : kind_ == kHeavyBall ? RunHeavyBall(&passes[i]) : RunNesterov(&passes[i]);
      }
    });
    Finish(context, passes, given, moving);
  }

 private:
  void Finish(tf::OpKernelContext* context, const std::vector<Pass>& passes, const float* given, float* moving) {
    tf::Tensor *sent, *peaks, *small, *whether;
    OP_REQUIRES_OK(context, context->allocate_output(1, {static_cast<int64_t>(layout_.sizes.size())}, &peaks));
    OP_REQUIRES_OK(context, context->allocate_output(2, {layout_.small}, &small));
    OP_REQUIRES_OK(context, context->allocate_output(3, {}, &whether));
    auto* largest = peaks->flat<float>().data();
    std::fill_n(largest, layout_.sizes.size(), 0.0f);
    int64_t count = 0;
    bool sound = true;
    for (size_t i = 0; i < passes.size(); ++i) {
      count += passes[i].count;
      sound = sound && passes[i].sound;
      float peak;
      std::memcpy(&peak, &passes[i].peak, sizeof peak);
      largest[layout_.chunks[i].tensor] = std::max(largest[layout_.chunks[i].tensor], peak);
    }
    for (const Part& part : small_) {
      const int64_t start = layout_.starts[part.tensor];
      const bool good = MoveSmall(moving == nullptr ? nullptr : moving + start, given + start, part.length, momentum_,
                                  kind_, small->flat<float>().data() + part.start);
      sound = sound && good;
    }
    whether->scalar<bool>()() = sound;
    OP_REQUIRES_OK(context, context->allocate_output(0, {sound ? count : 0}, &sent));
    auto* list = sent->flat<int32_t>().data();
    for (size_t i = 0; i < passes.size(); ++i) {
      if (!sound) {
        TakeBack(passes[i], layout_.chunks[i].start);
        continue;
      }
      std::memcpy(list, passes[i].sent, passes[i].count * sizeof(Sent));
      list += passes[i].count;
    }
  }

  // Nothing changes, nothing is sent.
  void Refuse(tf::OpKernelContext* context) {
    tf::Tensor *sent, *peaks, *small, *whether;
    OP_REQUIRES_OK(context, context->allocate_output(0, {0}, &sent));
    OP_REQUIRES_OK(context, context->allocate_output(1, {static_cast<int64_t>(layout_.sizes.size())}, &peaks));
    OP_REQUIRES_OK(context, context->allocate_output(2, {layout_.small}, &small));
    OP_REQUIRES_OK(context, context->allocate_output(3, {}, &whether));
    peaks->flat<float>().setZero();
    small->flat<float>().setZero();
    whether->scalar<bool>()() = false;
  }

  // What an unsound replica would have sent returns to its residual.
  static void TakeBack(const Pass& pass, int64_t start) {
    for (int64_t i = 0; i < pass.count; ++i) {
      const Sent each = pass.sent[i];
      pass.residual[(each >> 1) - start] += each & 1U ? -pass.threshold : pass.threshold;
    }
  }

  Layout layout_;
  float momentum_;
  bool masking_;
  Momentum kind_;
  std::vector<Part> small_;  // starting at their places among what is exchanged whole
  tf::mutex room_lock_;
  std::vector<std::unique_ptr<Sent[]>> room_;
};

}  // namespace tfscale

#endif  // TFSCALE_KERNELS_ACCUMULATE_H_
