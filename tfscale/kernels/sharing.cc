// TensorFlow's view of the kernels. Each has a twin in plain TensorFlow operations, in compressors/plain.py.
#include <atomic>
#include <chrono>

#include "accumulate.h"
#include "combine.h"
#include "layout.h"
#include "pack.h"
#include "restore.h"
#include "sound.h"
#if defined(__linux__)
#include "shared_memory.h"
#endif
#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace tfscale {
namespace {

using Shapes = tf::shape_inference::InferenceContext;

absl::Status ShapesOfAccumulate(Shapes* shapes) {
  std::vector<int64_t> sizes;
  TF_RETURN_IF_ERROR(shapes->GetAttr("sizes", &sizes));
  shapes->set_output(0, shapes->Vector(Shapes::kUnknownDim));
  shapes->set_output(1, shapes->Vector(static_cast<int64_t>(sizes.size())));
  shapes->set_output(2, shapes->Vector(Shapes::kUnknownDim));
  shapes->set_output(3, shapes->Scalar());
  return absl::OkStatus();
}

absl::Status ShapesOfPack(Shapes* shapes) {
  shapes->set_output(0, shapes->Vector(Shapes::kUnknownDim));
  return absl::OkStatus();
}

absl::Status ShapesOfCombine(Shapes* shapes) {
  std::vector<int64_t> sizes;
  TF_RETURN_IF_ERROR(shapes->GetAttr("sizes", &sizes));
  int64_t total = 0;
  for (const int64_t size : sizes) total += size;
  shapes->set_output(0, shapes->Vector(total));
  shapes->set_output(1, shapes->Vector(static_cast<int64_t>(sizes.size())));
  shapes->set_output(2, shapes->Scalar());
  shapes->set_output(3, shapes->Scalar());
  shapes->set_output(4, shapes->input(1));
  return absl::OkStatus();
}

absl::Status ShapesOfMessages(Shapes* shapes) {
  for (int i = 0; i < shapes->num_outputs(); ++i) shapes->set_output(i, shapes->Vector(Shapes::kUnknownDim));
  return absl::OkStatus();
}

REGISTER_OP("TfscaleSound").Input("vector: float").Output("sound: bool").SetShapeFn(tf::shape_inference::ScalarShape);

REGISTER_OP("TfscaleAccumulate")
    .Input("residual: resource")
    .Input("velocity: resource")  // not read with momentum = 0
    .Input("contribution: float")
    .Input("thresholds: float")
    .Input("usable: bool")
    .Attr("sizes: list(int)")
    .Attr("whole: list(bool)")
    .Attr("momentum: float")
    .Attr("nesterov: bool")
    .Attr("masking: bool")
    .Output("sent: int32")
    .Output("peaks: float")
    .Output("small: float")
    .Output("sound: bool")
    .SetIsStateful()
    .SetShapeFn(ShapesOfAccumulate);

REGISTER_OP("TfscalePack")
    .Input("sent: int32")
    .Input("small: float")
    .Input("sound: bool")
    .Input("proposal: float")  // thresholds, or nothing
    .Input("header: int32")    // step, threshold, digest, strain
    .Attr("formats: list(int)")
    .Attr("size: int")
    .Output("message: int32")
    .SetShapeFn(ShapesOfPack);

REGISTER_OP("TfscaleCombine")
    .Input("header: int32")  // step, threshold
    .Input("thresholds: float")
    .Input("messages: replicas * int32")
    .Attr("replicas: int >= 1")
    .Attr("sizes: list(int)")
    .Attr("whole: list(bool)")
    .Attr("scale: float")
    .Output("sum: float")
    .Output("counts: int64")
    .Output("void: bool")
    .Output("strain: int32")  // the largest of all
    .Output("proposed: float")
    .SetShapeFn(ShapesOfCombine);

REGISTER_OP("TfscaleRestore")
    .Input("residual: resource")
    .Input("message: int32")
    .Input("thresholds: float")
    .Input("wanted: bool")
    .Attr("sizes: list(int)")
    .Attr("whole: list(bool)")
    .SetIsStateful()
    .SetShapeFn(tf::shape_inference::NoOutputs);

REGISTER_OP("TfscaleDigest")
    .Input("parameters: count * float")
    .Attr("count: int >= 0")
    .Output("digest: int32")
    .SetShapeFn(tf::shape_inference::ScalarShape);

REGISTER_OP("TfscaleShareMessages")
    .Input("messages: own_replicas * int32")
    .Attr("own_replicas: int >= 1")
    .Attr("replicas: int >= 1")
    .Attr("held: list(int)")         // replicas of each process
    .Attr("processes: list(int)")    // their numbers in the system
    .Attr("descriptors: list(int)")  // of the seats of the first, of the second, ...
    .Attr("own: int")                // which process this is
    .Output("gathered: replicas * int32")
    .SetIsStateful()
    .SetShapeFn(ShapesOfMessages);

REGISTER_OP("TfscaleShareMean")
    .Input("vector: float")
    .Attr("replicas: int >= 1")
    .Attr("processes: list(int)")
    .Attr("descriptors: list(int)")
    .Attr("own: int")
    .Output("mean: float")
    .SetIsStateful()
    .SetShapeFn(tf::shape_inference::UnchangedShape);

// TensorFlow's Timestamp refuses to run under op determinism.
REGISTER_OP("TfscaleClock").Output("seconds: double").SetIsStateful().SetShapeFn(tf::shape_inference::ScalarShape);

class Clock : public tf::OpKernel {
 public:
  explicit Clock(tf::OpKernelConstruction* context) : OpKernel(context) {}

  void Compute(tf::OpKernelContext* context) override {
    tf::Tensor* seconds;
    OP_REQUIRES_OK(context, context->allocate_output(0, {}, &seconds));
    const auto now = std::chrono::steady_clock::now().time_since_epoch();
    seconds->scalar<double>()() = std::chrono::duration<double>(now).count();
  }
};

REGISTER_KERNEL_BUILDER(Name("TfscaleClock").Device(tf::DEVICE_CPU), Clock);
REGISTER_KERNEL_BUILDER(Name("TfscaleSound").Device(tf::DEVICE_CPU), Sound);
REGISTER_KERNEL_BUILDER(Name("TfscaleAccumulate").Device(tf::DEVICE_CPU), Accumulate);
REGISTER_KERNEL_BUILDER(Name("TfscalePack").Device(tf::DEVICE_CPU), Pack);
REGISTER_KERNEL_BUILDER(Name("TfscaleCombine").Device(tf::DEVICE_CPU), Combine);
REGISTER_KERNEL_BUILDER(Name("TfscaleRestore").Device(tf::DEVICE_CPU), Restore);
REGISTER_KERNEL_BUILDER(Name("TfscaleDigest").Device(tf::DEVICE_CPU), Digest);
#if defined(__linux__)
REGISTER_KERNEL_BUILDER(Name("TfscaleShareMessages").Device(tf::DEVICE_CPU), ShareMessages);
REGISTER_KERNEL_BUILDER(Name("TfscaleShareMean").Device(tf::DEVICE_CPU), ShareMean);
#endif

}  // namespace
}  // namespace tfscale
