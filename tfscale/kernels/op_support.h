// What the operations share: the only header that includes TensorFlow.
#ifndef TFSCALE_KERNELS_OP_SUPPORT_H_
#define TFSCALE_KERNELS_OP_SUPPORT_H_

#include <cstdint>
#include <cstring>
#include <memory>

// clang-format off
#include "tensorflow/core/framework/resource_mgr.h"
#include "tensorflow/core/framework/resource_var.h"
// clang-format on
#include "parallel.h"
#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "tensorflow/core/util/work_sharder.h"

namespace tfscale {

namespace tf = tensorflow;

using Shapes = tf::shape_inference::InferenceContext;

// The threads of the operation's device.
inline ParallelFor ThreadsOf(tf::OpKernelContext* context) {
  const auto* threads = context->device()->tensorflow_cpu_worker_threads();
  return [threads](int64_t total, int64_t cost, const RangeWork& work) {
    tf::Shard(threads->num_threads, threads->workers, total, cost, work);
  };
}

// A float32 [D] variable that is locked and written.
class LockedVariable {
 public:
  absl::Status Open(tf::OpKernelContext* context, int input, int64_t size) {
    TF_RETURN_IF_ERROR(LookupResource(context, tf::HandleFromInput(context, input), &variable_));
    lock_ = std::make_unique<tf::mutex_lock>(*variable_->mu());
    tf::Tensor* tensor = variable_->tensor();
    if (tensor->dtype() != tf::DT_FLOAT || tensor->NumElements() != size) {
      return absl::InvalidArgumentError("a residual or velocity is not float32 [D]");
    }
    if (!tensor->RefCountIsOne()) {  // an earlier operation still reads the old values
      tf::Tensor copy;
      TF_RETURN_IF_ERROR(context->allocate_temp(tf::DT_FLOAT, tensor->shape(), &copy));
      std::memcpy(copy.flat<float>().data(), tensor->flat<float>().data(), size * sizeof(float));
      *tensor = copy;
    }
    values_ = tensor->flat<float>().data();
    return absl::OkStatus();
  }
  float* values() const { return values_; }

 private:
  tf::core::RefCountPtr<tf::Var> variable_;
  std::unique_ptr<tf::mutex_lock> lock_;  // after the variable: it ends first
  float* values_ = nullptr;
};

}  // namespace tfscale

#endif  // TFSCALE_KERNELS_OP_SUPPORT_H_
