// TfscaleSound: whether every element of a vector can be used, before anything of it is.
#ifndef TFSCALE_KERNELS_SOUND_H_
#define TFSCALE_KERNELS_SOUND_H_

#include <algorithm>
#include <atomic>

#include "dense_pass.h"
#include "layout.h"

namespace tfscale {

TFSCALE_CLONES bool AllSound(const float* values, int64_t length) {
  int32_t largest = 0;
  for (int64_t i = 0; i < length; ++i) largest = std::max(largest, Bits(values[i]));
  return largest < kUnsound;
}

class Sound : public tf::OpKernel {
 public:
  explicit Sound(tf::OpKernelConstruction* context) : OpKernel(context) {}

  void Compute(tf::OpKernelContext* context) override {
    const float* values = context->input(0).flat<float>().data();
    std::atomic<bool> sound{true};
    Parallel(context, context->input(0).NumElements(), 1, [&](int64_t begin, int64_t end) {
      if (!AllSound(values + begin, end - begin)) sound = false;
    });
    tf::Tensor* whether;
    OP_REQUIRES_OK(context, context->allocate_output(0, {}, &whether));
    whether->scalar<bool>()() = sound;
  }
};

}  // namespace tfscale

#endif  // TFSCALE_KERNELS_SOUND_H_
