// What the operations on messages share: their inputs, and their faults as errors.
#ifndef TFSCALE_KERNELS_MESSAGE_OP_SUPPORT_H_
#define TFSCALE_KERNELS_MESSAGE_OP_SUPPORT_H_

#include <cstdint>
#include <vector>

#include "absl/strings/str_cat.h"
#include "decode.h"
#include "layout.h"
#include "message.h"
#include "op_support.h"

namespace tfscale {

// The layout of the attributes `sizes` and `dense`.
inline Layout LayoutOf(tf::OpKernelConstruction* context) {
  std::vector<int64_t> sizes;
  std::vector<bool> dense;
  absl::Status status = context->GetAttr("sizes", &sizes);
  if (status.ok()) status = context->GetAttr("dense", &dense);
  if (status.ok() && sizes.size() != dense.size()) status = absl::InvalidArgumentError("sizes and dense differ");
  if (status.ok()) return Layout(sizes, dense);
  context->CtxFailure(status);
  return Layout();
}

// Reads an input of 1 threshold or one a tensor.
inline absl::Status ThresholdsOf(const tf::Tensor& input, const Layout& layout, Thresholds* thresholds) {
  *thresholds = {input.flat<float>().data(), input.NumElements()};
  if (thresholds->count == 1 || thresholds->count == layout.Tensors()) return absl::OkStatus();
  return absl::InvalidArgumentError("there must be 1 threshold or one a tensor");
}

inline MessageView MessageOf(const tf::Tensor& input) {
  return {reinterpret_cast<const Word*>(input.flat<int32_t>().data()), input.NumElements()};
}

// The fault of a message, as an error; OK if there is none.
inline absl::Status StatusOf(const Fault& fault, int32_t step) {
  if (fault.what.empty()) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrCat("tfscale: the message of rank ", fault.rank, " at step ", step, " is damaged: ", fault.what));
}

}  // namespace tfscale

#endif  // TFSCALE_KERNELS_MESSAGE_OP_SUPPORT_H_
