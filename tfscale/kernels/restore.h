// TfscaleRestore: a replica's residual gets back what its message has taken, at a step that all replicas skip.
#ifndef TFSCALE_KERNELS_RESTORE_H_
#define TFSCALE_KERNELS_RESTORE_H_

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "layout.h"
#include "message.h"
#include "rice_unpack.h"

namespace tfscale {

class Restore : public tf::OpKernel {
 public:
  explicit Restore(tf::OpKernelConstruction* context) : OpKernel(context), layout_(context) {}

  void Compute(tf::OpKernelContext* context) override {
    const Word* message = reinterpret_cast<const Word*>(context->input(1).flat<int32_t>().data());
    const auto thresholds = context->input(2).flat<float>();
    const bool wanted = context->input(3).scalar<bool>()();
    if (!wanted || FormatOf(message) == kVoid || FormatOf(message) == kOpening) return;
    const int64_t rest = context->input(1).NumElements() - kHeader - layout_.small;
    const int64_t count = message[kCount];
    std::vector<Sent> sent(count + kLanes);
    const std::string wrong =
        Unpack(FormatOf(message), message + kHeader, rest, count, layout_.size, sent.data());
    OP_REQUIRES(context, wrong.empty(), absl::DataLossError(absl::StrCat("tfscale: a message of our own: ", wrong)));
    tf::core::RefCountPtr<tf::Var> residual;
    OP_REQUIRES_OK(context, LookupResource(context, tf::HandleFromInput(context, 0), &residual));
    tf::mutex_lock lock(*residual->mu());
    float* own = nullptr;
    OP_REQUIRES_OK(context, Exclusive(context, residual.get(), layout_.size, &own));
    for (int64_t i = 0; i < count; ++i) {
      const Sent each = sent[i];
      const float quantum = thresholds(thresholds.size() == 1 ? 0 : layout_.Tensor(each >> 1));
      own[each >> 1] += each & 1U ? -quantum : quantum;
    }
  }

 private:
  Layout layout_;
};

}  // namespace tfscale

#endif  // TFSCALE_KERNELS_RESTORE_H_
