// What the operations share: the model's tensors in one vector, variables to write to, and the device's threads.
#ifndef TFSCALE_KERNELS_LAYOUT_H_
#define TFSCALE_KERNELS_LAYOUT_H_

#include <algorithm>
#include <cstring>
#include <functional>
#include <vector>

// clang-format off
#include "tensorflow/core/framework/resource_mgr.h"
#include "tensorflow/core/framework/resource_var.h"
// clang-format on
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/util/work_sharder.h"

namespace tfscale {

namespace tf = tensorflow;

constexpr int64_t kChunk = 1 << 16;  // elements that one thread takes at a time

// A part of one tensor.
struct Part {
  int64_t tensor, start, length;
};

// A model's tensors in one vector: which part of it belongs to which, and which are exchanged whole.
struct Layout {
  explicit Layout(tf::OpKernelConstruction* context) {
    OP_REQUIRES_OK(context, context->GetAttr("sizes", &sizes));
    OP_REQUIRES_OK(context, context->GetAttr("whole", &whole));
    OP_REQUIRES(context, sizes.size() == whole.size(), absl::InvalidArgumentError("sizes and whole differ"));
    for (size_t i = 0; i < sizes.size(); ++i) {
      starts.push_back(size);
      for (int64_t at = 0; !whole[i] && at < sizes[i]; at += kChunk) {
        chunks.push_back({static_cast<int64_t>(i), size + at, std::min(kChunk, sizes[i] - at)});
      }
      if (whole[i]) small += sizes[i];
      size += sizes[i];
      ends.push_back(size);
    }
  }
  size_t Tensor(int64_t index) const { return std::upper_bound(ends.begin(), ends.end(), index) - ends.begin(); }

  std::vector<int64_t> sizes, starts, ends;
  std::vector<bool> whole;
  std::vector<Part> chunks;  // of all that is not exchanged whole
  int64_t size = 0, small = 0;
};

// The values of a float32 [D] variable whose lock is held, for writing.
inline absl::Status Exclusive(tf::OpKernelContext* context, tf::Var* variable, int64_t size, float** data) {
  tf::Tensor* tensor = variable->tensor();
  if (tensor->dtype() != tf::DT_FLOAT || tensor->NumElements() != size) {
    return absl::InvalidArgumentError("a residual or velocity is not float32 [D]");
  }
  if (!tensor->RefCountIsOne()) {  // somebody still reads the old values
    tf::Tensor copy;
    TF_RETURN_IF_ERROR(context->allocate_temp(tf::DT_FLOAT, tensor->shape(), &copy));
    std::memcpy(copy.flat<float>().data(), tensor->flat<float>().data(), size * sizeof(float));
    *tensor = copy;
  }
  *data = tensor->flat<float>().data();
  return absl::OkStatus();
}

inline void Parallel(tf::OpKernelContext* context, int64_t total, int64_t cost,
                     const std::function<void(int64_t, int64_t)>& work) {
  const auto* threads = context->device()->tensorflow_cpu_worker_threads();
  tf::Shard(threads->num_threads, threads->workers, total, cost, work);
}

}  // namespace tfscale

#endif  // TFSCALE_KERNELS_LAYOUT_H_
