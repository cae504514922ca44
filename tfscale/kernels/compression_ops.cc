// The operations of a compressed exchange. Each has a twin in TensorFlow operations, in
// compression/backends/reference.py.
#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "accumulate.h"
#include "decode.h"
#include "encode.h"
#include "layout.h"
#include "bundle.h"
#include "message_op_support.h"
#include "op_support.h"
#include "restore.h"
#include "usable.h"

namespace tfscale {
namespace {

REGISTER_OP("TfscaleUsable")
    .Input("vector: float")
    .Output("usable: bool")
    .SetShapeFn(tf::shape_inference::ScalarShape);

REGISTER_OP("TfscaleAccumulate")
    .Input("residual: resource")
    .Input("velocity: resource")  // not read if momentum = 0
    .Input("contribution: float")
    .Input("thresholds: float")
    .Input("contribution_usable: bool")
    .Attr("sizes: list(int)")
    .Attr("dense: list(bool)")
    .Attr("momentum: float")
    .Attr("nesterov: bool")
    .Attr("masking: bool")
    .Attr("levels: int >= 1")
    .Output("sent: int32")
    .Output("peaks: float")
    .Output("dense_values: float")
    .Output("usable: bool")
    .SetIsStateful()
    .SetShapeFn([](Shapes* shapes) -> absl::Status {
      std::vector<int64_t> sizes;
      TF_RETURN_IF_ERROR(shapes->GetAttr("sizes", &sizes));
      shapes->set_output(0, shapes->Vector(Shapes::kUnknownDim));
      shapes->set_output(1, shapes->Vector(static_cast<int64_t>(sizes.size())));
      shapes->set_output(2, shapes->Vector(Shapes::kUnknownDim));
      shapes->set_output(3, shapes->Scalar());
      return absl::OkStatus();
    });

REGISTER_OP("TfscaleEncode")
    .Input("sent: int32")
    .Input("dense_values: float")
    .Input("usable: bool")
    .Input("proposal: float")  // thresholds, or nothing
    .Input("header: int32")    // step, threshold, digest, residual ratio
    .Attr("formats: list(int)")
    .Attr("size: int")
    .Attr("levels: int >= 1")
    .Attr("parts: int >= 0")  // 0: a message; more: a bundle
    .Output("message: int32")
    .SetShapeFn([](Shapes* shapes) -> absl::Status {
      shapes->set_output(0, shapes->Vector(Shapes::kUnknownDim));
      return absl::OkStatus();
    });

REGISTER_OP("TfscaleDecode")
    .Input("header: int32")  // step, threshold
    .Input("thresholds: float")
    .Input("messages: replicas * int32")
    .Attr("replicas: int >= 1")
    .Attr("sizes: list(int)")
    .Attr("dense: list(bool)")
    .Attr("scale: float")
    .Attr("levels: int >= 1")
    .Output("sum: float")
    .Output("counts: int64")
    .Output("skip: bool")
    .Output("residual_ratio: int32")  // the largest of all
    .Output("proposed: float")
    .SetShapeFn([](Shapes* shapes) -> absl::Status {
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
    });

REGISTER_OP("TfscaleRestore")
    .Input("residual: resource")
    .Input("message: int32")
    .Input("thresholds: float")
    .Input("wanted: bool")
    .Attr("sizes: list(int)")
    .Attr("dense: list(bool)")
    .Attr("levels: int >= 1")
    .Attr("parts: int >= 0")  // 0: a message; more: a bundle
    .SetIsStateful()
    .SetShapeFn(tf::shape_inference::NoOutputs);

class UsableOp : public tf::OpKernel {
 public:
  explicit UsableOp(tf::OpKernelConstruction* context) : OpKernel(context) {}

  void Compute(tf::OpKernelContext* context) override {
    const float* values = context->input(0).flat<float>().data();
    std::atomic<bool> all{true};
    ThreadsOf(context)(context->input(0).NumElements(), 1, [&](int64_t begin, int64_t end) {
      if (!AllUsable(values + begin, end - begin)) all = false;
    });
    tf::Tensor* usable;
    OP_REQUIRES_OK(context, context->allocate_output(0, {}, &usable));
    usable->scalar<bool>()() = all;
  }
};

class AccumulateOp : public tf::OpKernel {
 public:
  explicit AccumulateOp(tf::OpKernelConstruction* context) : OpKernel(context) {
    float momentum;
    int levels;
    bool nesterov, masking;
    OP_REQUIRES_OK(context, context->GetAttr("momentum", &momentum));
    OP_REQUIRES_OK(context, context->GetAttr("nesterov", &nesterov));
    OP_REQUIRES_OK(context, context->GetAttr("masking", &masking));
    OP_REQUIRES_OK(context, context->GetAttr("levels", &levels));
    const Momentum kind = momentum == 0 ? kNone : nesterov ? kNesterov : kHeavyBall;
    accumulator_ = std::make_unique<Accumulator>(LayoutOf(context), kind, momentum, levels, masking);
  }

  void Compute(tf::OpKernelContext* context) override {
    const Layout& layout = accumulator_->layout();
    const tf::Tensor& contribution = context->input(2);
    Thresholds thresholds;
    OP_REQUIRES(context, contribution.NumElements() == layout.size,
                absl::InvalidArgumentError(absl::StrCat("contribution has ", contribution.NumElements(),
                                                        " elements, not ", layout.size)));
    OP_REQUIRES_OK(context, ThresholdsOf(context->input(3), layout, &thresholds));
    tf::Tensor *sent, *peaks, *dense_values, *usable;
    OP_REQUIRES_OK(context, context->allocate_output(1, {layout.Tensors()}, &peaks));
    OP_REQUIRES_OK(context, context->allocate_output(2, {layout.dense_size}, &dense_values));
    OP_REQUIRES_OK(context, context->allocate_output(3, {}, &usable));
    if (!context->input(4).scalar<bool>()()) {  // nothing changes, nothing is sent
      OP_REQUIRES_OK(context, context->allocate_output(0, {0}, &sent));
      peaks->flat<float>().setZero();
      dense_values->flat<float>().setZero();
      usable->scalar<bool>()() = false;
      return;
    }
    LockedVariable residual, velocity;
    OP_REQUIRES_OK(context, residual.Open(context, 0, layout.size));
    if (accumulator_->has_momentum()) OP_REQUIRES_OK(context, velocity.Open(context, 1, layout.size));
    tf::mutex_lock lock(accumulator_lock_);
    usable->scalar<bool>()() = accumulator_->Run(
        ThreadsOf(context), residual.values(), velocity.values(), contribution.flat<float>().data(), thresholds,
        peaks->flat<float>().data(), dense_values->flat<float>().data());
    OP_REQUIRES_OK(context, context->allocate_output(0, {accumulator_->Count()}, &sent));
    accumulator_->CopyElements(reinterpret_cast<Element*>(sent->flat<int32_t>().data()));
  }

 private:
  tf::mutex accumulator_lock_;
  std::unique_ptr<Accumulator> accumulator_;
};

class EncodeOp : public tf::OpKernel {
 public:
  explicit EncodeOp(tf::OpKernelConstruction* context) : OpKernel(context) {
    std::vector<int> formats;
    OP_REQUIRES_OK(context, context->GetAttr("formats", &formats));
    OP_REQUIRES_OK(context, context->GetAttr("size", &size_));
    OP_REQUIRES_OK(context, context->GetAttr("levels", &levels_));
    OP_REQUIRES_OK(context, context->GetAttr("parts", &parts_));
    for (const int format : formats) allowed_ |= 1U << format;
  }

  void Compute(tf::OpKernelContext* context) override {
    const ParallelFor parallel = ThreadsOf(context);
    if (parts_ == 0) {
      Write(context, EncoderOf(context, parallel), parallel);
    } else {
      Write(context, BundleOf(context, parallel), parallel);
    }
  }

 private:
  template <typename AnyEncoder>
  static void Write(tf::OpKernelContext* context, const AnyEncoder& encoder, const ParallelFor& parallel) {
    tf::Tensor* message;
    OP_REQUIRES_OK(context, context->allocate_output(0, {encoder.Length()}, &message));
    const auto header = context->input(4).flat<int32_t>();
    const HeaderFields fields{static_cast<Word>(header(0)), static_cast<Word>(header(1)), static_cast<Word>(header(2)),
                              static_cast<Word>(header(3))};
    encoder.Write(parallel, fields, reinterpret_cast<Word*>(message->flat<int32_t>().data()));
  }

  BundleEncoder BundleOf(tf::OpKernelContext* context, const ParallelFor& parallel) const {
    const tf::Tensor& sent = context->input(0);
    const bool is_sparse = context->input(2).scalar<bool>()() && context->input(3).NumElements() == 0;
    if (!is_sparse) return BundleEncoder::Same(EncoderOf(context, parallel), parts_);
    const auto* elements = reinterpret_cast<const Element*>(sent.flat<int32_t>().data());
    return BundleEncoder::Sparse(parallel, allowed_, elements, sent.NumElements(), size_, levels_,
                                 FloatsOf(context->input(1)), parts_);
  }

  Encoder EncoderOf(tf::OpKernelContext* context, const ParallelFor& parallel) const {
    const tf::Tensor& sent = context->input(0);
    const FloatView dense_values = FloatsOf(context->input(1)), proposal = FloatsOf(context->input(3));
    if (!context->input(2).scalar<bool>()()) return Encoder::Skip();
    if (proposal.count > 0) return Encoder::Proposal(proposal, dense_values);
    const auto* elements = reinterpret_cast<const Element*>(sent.flat<int32_t>().data());
    return Encoder::Sparse(parallel, allowed_, elements, sent.NumElements(), size_, levels_, dense_values);
  }

  static FloatView FloatsOf(const tf::Tensor& input) { return {input.flat<float>().data(), input.NumElements()}; }

  unsigned allowed_ = 0;
  int64_t size_, parts_;
  int levels_;
};

class DecodeOp : public tf::OpKernel {
 public:
  explicit DecodeOp(tf::OpKernelConstruction* context) : OpKernel(context) {
    float scale;
    int levels;
    OP_REQUIRES_OK(context, context->GetAttr("scale", &scale));
    OP_REQUIRES_OK(context, context->GetAttr("levels", &levels));
    decoder_ = std::make_unique<Decoder>(LayoutOf(context), scale, levels);
  }

  void Compute(tf::OpKernelContext* context) override {
    const Layout& layout = decoder_->layout();
    const auto header = context->input(0).flat<int32_t>();  // step, threshold
    Thresholds thresholds;
    OP_REQUIRES_OK(context, ThresholdsOf(context->input(1), layout, &thresholds));
    tf::Tensor *sum, *counts, *skip, *residual_ratio, *proposed;
    OP_REQUIRES_OK(context, context->allocate_output(0, {layout.size}, &sum));
    OP_REQUIRES_OK(context, context->allocate_output(1, {layout.Tensors()}, &counts));
    OP_REQUIRES_OK(context, context->allocate_output(2, {}, &skip));
    OP_REQUIRES_OK(context, context->allocate_output(3, {}, &residual_ratio));
    OP_REQUIRES_OK(context, context->allocate_output(4, {thresholds.count}, &proposed));
    std::vector<MessageView> messages;
    for (int i = 2; i < context->num_inputs(); ++i) messages.push_back(MessageOf(context->input(i)));
    const int64_t proposals = thresholds.values[0] > 0 ? 0 : thresholds.count;
    const ParallelFor parallel = ThreadsOf(context);
    tf::mutex_lock lock(decoder_lock_);
    const Fault fault = decoder_->Read(parallel, messages, static_cast<Word>(header(0)), static_cast<Word>(header(1)),
                                       proposals);
    OP_REQUIRES_OK(context, StatusOf(fault, header(0)));
    skip->scalar<bool>()() = decoder_->skip();
    residual_ratio->scalar<int32_t>()() = static_cast<int32_t>(decoder_->residual_ratio());
    proposed->flat<float>().setZero();
    if (decoder_->skip()) {
      sum->flat<float>().setZero();
      counts->flat<int64_t>().setZero();
      return;
    }
    if (proposals > 0) decoder_->MeanProposal(proposed->flat<float>().data(), proposals);
    decoder_->Sum(parallel, thresholds, sum->flat<float>().data(), counts->flat<int64_t>().data());
  }

 private:
  tf::mutex decoder_lock_;
  std::unique_ptr<Decoder> decoder_;
};

class RestoreOp : public tf::OpKernel {
 public:
  explicit RestoreOp(tf::OpKernelConstruction* context) : OpKernel(context), layout_(LayoutOf(context)) {
    OP_REQUIRES_OK(context, context->GetAttr("levels", &levels_));
    OP_REQUIRES_OK(context, context->GetAttr("parts", &parts_));
  }

  void Compute(tf::OpKernelContext* context) override {
    if (!context->input(3).scalar<bool>()()) return;
    Thresholds thresholds;
    OP_REQUIRES_OK(context, ThresholdsOf(context->input(2), layout_, &thresholds));
    LockedVariable residual;
    OP_REQUIRES_OK(context, residual.Open(context, 0, layout_.size));
    std::vector<MessageView> messages;
    if (parts_ == 0) messages.push_back(MessageOf(context->input(1)));
    if (parts_ > 0 && Unpack(MessageOf(context->input(1)), parts_, &messages) >= 0) messages.clear();
    OP_REQUIRES(context, !messages.empty(), absl::DataLossError("tfscale: a bundle of our own has wrong lengths"));
    for (const MessageView& message : messages) {
      const std::string wrong = Restore(layout_, message, thresholds, levels_, residual.values());
      OP_REQUIRES(context, wrong.empty(), absl::DataLossError(absl::StrCat("tfscale: a message of our own: ", wrong)));
    }
  }

 private:
  Layout layout_;
  int64_t parts_;
  int levels_;
};

REGISTER_KERNEL_BUILDER(Name("TfscaleUsable").Device(tf::DEVICE_CPU), UsableOp);
REGISTER_KERNEL_BUILDER(Name("TfscaleAccumulate").Device(tf::DEVICE_CPU), AccumulateOp);
REGISTER_KERNEL_BUILDER(Name("TfscaleEncode").Device(tf::DEVICE_CPU), EncodeOp);
REGISTER_KERNEL_BUILDER(Name("TfscaleDecode").Device(tf::DEVICE_CPU), DecodeOp);
REGISTER_KERNEL_BUILDER(Name("TfscaleRestore").Device(tf::DEVICE_CPU), RestoreOp);

}  // namespace
}  // namespace tfscale
