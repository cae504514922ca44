// Operations of every step: the digest of parameters, and a clock. TfscaleDigest has a twin in digest.py.
#include <atomic>
#include <chrono>

#include "digest.h"
#include "op_support.h"

namespace tfscale {
namespace {

REGISTER_OP("TfscaleDigest")
    .Input("tensors: count * float")
    .Attr("count: int >= 0")
    .Output("digest: int32")
    .SetShapeFn(tf::shape_inference::ScalarShape);

// TensorFlow's Timestamp refuses to run under op determinism.
REGISTER_OP("TfscaleClock").Output("seconds: double").SetIsStateful().SetShapeFn(tf::shape_inference::ScalarShape);

class DigestOp : public tf::OpKernel {
 public:
  explicit DigestOp(tf::OpKernelConstruction* context) : OpKernel(context) {}

  void Compute(tf::OpKernelContext* context) override {
    uint64_t total = 0;
    uint32_t start = 0;
    for (int i = 0; i < context->num_inputs(); ++i) {
      const uint32_t* words = reinterpret_cast<const uint32_t*>(context->input(i).flat<float>().data());
      const int64_t length = context->input(i).NumElements();
      std::atomic<uint64_t> sum{0};
      ThreadsOf(context)(length, 1, [&](int64_t begin, int64_t end) {
        sum += SumWords(words + begin, end - begin, start + static_cast<uint32_t>(begin));
      });
      total += sum;
      start += static_cast<uint32_t>(length);
    }
    tf::Tensor* digest;
    OP_REQUIRES_OK(context, context->allocate_output(0, {}, &digest));
    digest->scalar<int32_t>()() = static_cast<int32_t>(FoldDigest(total));
  }
};

class ClockOp : public tf::OpKernel {
 public:
  explicit ClockOp(tf::OpKernelConstruction* context) : OpKernel(context) {}

  void Compute(tf::OpKernelContext* context) override {
    tf::Tensor* seconds;
    OP_REQUIRES_OK(context, context->allocate_output(0, {}, &seconds));
    const auto now = std::chrono::steady_clock::now().time_since_epoch();
    seconds->scalar<double>()() = std::chrono::duration<double>(now).count();
  }
};

REGISTER_KERNEL_BUILDER(Name("TfscaleDigest").Device(tf::DEVICE_CPU), DigestOp);
REGISTER_KERNEL_BUILDER(Name("TfscaleClock").Device(tf::DEVICE_CPU), ClockOp);

}  // namespace
}  // namespace tfscale
