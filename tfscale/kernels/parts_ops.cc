// The operations of an exchange in which each replica adds a part of the elements. Each has a twin in TensorFlow
// operations, in compression/backends/reference.py.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "merge.h"
#include "message_op_support.h"
#include "op_support.h"

namespace tfscale {
namespace {

REGISTER_OP("TfscaleMerge")
    .Input("header: int32")  // step, threshold
    .Input("thresholds: float")
    .Input("bundle: int32")  // from all
    .Attr("parts: int >= 1")
    .Attr("part: int >= 0")
    .Attr("sizes: list(int)")
    .Attr("dense: list(bool)")
    .Attr("levels: int >= 1")
    .Output("elements: int32")  // of the part, each as often as it is in the sum
    .Output("counts: int64")    // sent of each tensor
    .Output("dense_sums: float")
    .Output("skip: bool")
    .Output("residual_ratio: int32")  // the largest of all
    .Output("proposed: float")
    .Output("skipped: int64")  // steps that replicas have skipped alone
    .SetShapeFn([](Shapes* shapes) -> absl::Status {
      std::vector<int64_t> sizes;
      TF_RETURN_IF_ERROR(shapes->GetAttr("sizes", &sizes));
      shapes->set_output(0, shapes->Vector(Shapes::kUnknownDim));
      shapes->set_output(1, shapes->Vector(static_cast<int64_t>(sizes.size())));
      shapes->set_output(2, shapes->Vector(Shapes::kUnknownDim));
      shapes->set_output(3, shapes->Scalar());
      shapes->set_output(4, shapes->Scalar());
      shapes->set_output(5, shapes->input(1));
      shapes->set_output(6, shapes->Scalar());
      return absl::OkStatus();
    });

REGISTER_OP("TfscaleReadSums")
    .Input("header: int32")  // step, threshold
    .Input("thresholds: float")
    .Input("dense_sums: float")
    .Input("skip: bool")
    .Input("messages: parts * int32")
    .Attr("parts: int >= 1")
    .Attr("sizes: list(int)")
    .Attr("dense: list(bool)")
    .Attr("scale: float")
    .Attr("levels: int >= 1")  // of one replica
    .Output("sum: float")
    .Output("counts: int64")
    .Output("words: int64")  // that all have received for their parts
    .SetShapeFn([](Shapes* shapes) -> absl::Status {
      std::vector<int64_t> sizes;
      TF_RETURN_IF_ERROR(shapes->GetAttr("sizes", &sizes));
      int64_t total = 0;
      for (const int64_t size : sizes) total += size;
      shapes->set_output(0, shapes->Vector(total));
      shapes->set_output(1, shapes->Vector(static_cast<int64_t>(sizes.size())));
      shapes->set_output(2, shapes->Scalar());
      return absl::OkStatus();
    });

class MergeOp : public tf::OpKernel {
 public:
  explicit MergeOp(tf::OpKernelConstruction* context) : OpKernel(context) {
    int levels;
    int64_t part;
    OP_REQUIRES_OK(context, context->GetAttr("levels", &levels));
    OP_REQUIRES_OK(context, context->GetAttr("parts", &parts_));
    OP_REQUIRES_OK(context, context->GetAttr("part", &part));
    OP_REQUIRES(context, part < parts_, absl::InvalidArgumentError("part must be one of the parts"));
    merger_ = std::make_unique<Merger>(LayoutOf(context), levels, parts_, part);
  }

  void Compute(tf::OpKernelContext* context) override {
    const Decoder& decoder = merger_->decoder();
    const Layout& layout = decoder.layout();
    const auto header = context->input(0).flat<int32_t>();
    Thresholds thresholds;
    OP_REQUIRES_OK(context, ThresholdsOf(context->input(1), layout, &thresholds));
    tf::Tensor *elements, *counts, *dense_sums, *skip, *residual_ratio, *proposed, *skipped;
    OP_REQUIRES_OK(context, context->allocate_output(1, {layout.Tensors()}, &counts));
    OP_REQUIRES_OK(context, context->allocate_output(2, {layout.dense_size}, &dense_sums));
    OP_REQUIRES_OK(context, context->allocate_output(3, {}, &skip));
    OP_REQUIRES_OK(context, context->allocate_output(4, {}, &residual_ratio));
    OP_REQUIRES_OK(context, context->allocate_output(5, {thresholds.count}, &proposed));
    OP_REQUIRES_OK(context, context->allocate_output(6, {}, &skipped));
    const int64_t proposals = thresholds.values[0] > 0 ? 0 : thresholds.count;
    std::vector<MessageView> messages;
    const int64_t wrong = Unpack(MessageOf(context->input(2)), parts_, &messages);
    OP_REQUIRES_OK(context, StatusOf({wrong, wrong < 0 ? "" : "its length is wrong"}, header(0)));
    tf::mutex_lock lock(merger_lock_);
    OP_REQUIRES_OK(context, StatusOf(merger_->Read(ThreadsOf(context), messages, static_cast<Word>(header(0)),
                                                   static_cast<Word>(header(1)), proposals),
                                     header(0)));
    const auto& sum = merger_->elements();
    OP_REQUIRES_OK(context, context->allocate_output(0, {static_cast<int64_t>(sum.size())}, &elements));
    std::copy(sum.begin(), sum.end(), reinterpret_cast<Element*>(elements->flat<int32_t>().data()));
    merger_->CountSent(counts->flat<int64_t>().data());
    skip->scalar<bool>()() = decoder.skip();
    residual_ratio->scalar<int32_t>()() = static_cast<int32_t>(decoder.residual_ratio());
    skipped->scalar<int64_t>()() = decoder.skipped();
    dense_sums->flat<float>().setZero();
    proposed->flat<float>().setZero();
    if (decoder.skip()) return;
    decoder.DenseSums(dense_sums->flat<float>().data());
    if (proposals > 0) decoder.MeanProposal(proposed->flat<float>().data(), proposals);
  }

 private:
  int64_t parts_;
  tf::mutex merger_lock_;
  std::unique_ptr<Merger> merger_;
};

class ReadSumsOp : public tf::OpKernel {
 public:
  explicit ReadSumsOp(tf::OpKernelConstruction* context) : OpKernel(context) {
    float scale;
    int levels;
    int64_t parts;
    OP_REQUIRES_OK(context, context->GetAttr("scale", &scale));
    OP_REQUIRES_OK(context, context->GetAttr("levels", &levels));
    OP_REQUIRES_OK(context, context->GetAttr("parts", &parts));
    reader_ = std::make_unique<SumReader>(LayoutOf(context), scale, levels, parts);
  }

  void Compute(tf::OpKernelContext* context) override {
    const Layout& layout = reader_->layout();
    const auto header = context->input(0).flat<int32_t>();
    Thresholds thresholds;
    OP_REQUIRES_OK(context, ThresholdsOf(context->input(1), layout, &thresholds));
    tf::Tensor *sum, *counts, *words;
    OP_REQUIRES_OK(context, context->allocate_output(0, {layout.size}, &sum));
    OP_REQUIRES_OK(context, context->allocate_output(1, {layout.Tensors()}, &counts));
    OP_REQUIRES_OK(context, context->allocate_output(2, {}, &words));
    std::vector<MessageView> messages;
    for (int i = 4; i < context->num_inputs(); ++i) messages.push_back(MessageOf(context->input(i)));
    const ParallelFor parallel = ThreadsOf(context);
    tf::mutex_lock lock(reader_lock_);
    OP_REQUIRES_OK(context, StatusOf(reader_->Read(parallel, messages, static_cast<Word>(header(0)),
                                                   static_cast<Word>(header(1))),
                                     header(0)));
    float* out = sum->flat<float>().data();
    words->scalar<int64_t>()() = reader_->Sum(parallel, thresholds, out, counts->flat<int64_t>().data());
    reader_->PlaceDense(context->input(2).flat<float>().data(), out);
    if (context->input(3).scalar<bool>()()) sum->flat<float>().setZero();
  }

 private:
  tf::mutex reader_lock_;
  std::unique_ptr<SumReader> reader_;
};

REGISTER_KERNEL_BUILDER(Name("TfscaleMerge").Device(tf::DEVICE_CPU), MergeOp);
REGISTER_KERNEL_BUILDER(Name("TfscaleReadSums").Device(tf::DEVICE_CPU), ReadSumsOp);

}  // namespace
}  // namespace tfscale
