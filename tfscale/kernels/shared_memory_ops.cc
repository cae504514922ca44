// TfscaleSharedGather and TfscaleSharedMean: exchanges through the memory that the processes of one host share.
#include <cstring>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "op_support.h"
#if defined(__linux__)
#include "shared_memory.h"
#endif
#include "tensorflow/core/platform/threadpool.h"

namespace tfscale {
namespace {

REGISTER_OP("TfscaleSharedGather")
    .Input("messages: own_replicas * int32")
    .Attr("own_replicas: int >= 1")
    .Attr("replicas: int >= 1")
    .Attr("replicas_by_process: list(int)")
    .Attr("pids: list(int)")         // of the processes
    .Attr("descriptors: list(int)")  // of the segments of the first process, of the second, ...
    .Attr("process: int")            // the index of this one
    .Output("gathered: replicas * int32")
    .SetIsStateful()
    .SetShapeFn([](Shapes* shapes) -> absl::Status {
      for (int i = 0; i < shapes->num_outputs(); ++i) shapes->set_output(i, shapes->Vector(Shapes::kUnknownDim));
      return absl::OkStatus();
    });

REGISTER_OP("TfscaleSharedMean")
    .Input("vector: float")
    .Attr("replicas: int >= 1")
    .Attr("pids: list(int)")
    .Attr("descriptors: list(int)")
    .Attr("process: int")
    .Output("mean: float")
    .SetIsStateful()
    .SetShapeFn(tf::shape_inference::UnchangedShape);

#if defined(__linux__)

absl::Status NoMemory(const std::string& wrong) {
  return wrong.empty() ? absl::OkStatus() : absl::ResourceExhaustedError(wrong);
}

// The segments of all processes, and a thread that waits for them in the operation's place.
class SharedMemoryOp : public tf::AsyncOpKernel {
 public:
  explicit SharedMemoryOp(tf::OpKernelConstruction* context)
      : AsyncOpKernel(context), waiter_(context->env(), "tfscale_shared_memory", 1) {
    std::vector<int> descriptors;
    OP_REQUIRES_OK(context, context->GetAttr("descriptors", &descriptors));
    OP_REQUIRES_OK(context, context->GetAttr("pids", &pids_));
    OP_REQUIRES_OK(context, context->GetAttr("process", &process_));
    OP_REQUIRES(context, descriptors.size() == kSegments * pids_.size(),
                absl::InvalidArgumentError("there must be two segments a process"));
    for (const int descriptor : descriptors) segments_.emplace_back(descriptor);
    for (Segment& segment : segments_) OP_REQUIRES_OK(context, NoMemory(segment.View(0)));
  }

 protected:
  size_t processes() const { return pids_.size(); }
  size_t process() const { return process_; }
  Segment& At(size_t process, size_t segment) { return segments_[kSegments * process + segment]; }

  // Returns the number of the exchange that begins now.
  uint32_t Begin() { return ++At(process_, 0).header()->count; }

  // Does `work` once this turn is in that segment of all processes; at once if it is, so that no thread need wake up.
  void Then(tf::OpKernelContext* context, size_t segment, uint32_t turn, DoneCallback done,
            std::function<absl::Status()> work) {
    bool here = true;
    for (size_t i = 0; here && i < processes(); ++i) here = Spin(At(i, segment).header()->turn, turn, kSpin);
    if (here) {
      Finish(context, work(), done);
      return;
    }
    waiter_.Schedule([this, context, segment, turn, done = std::move(done), work = std::move(work)] {
      const absl::Status status = AwaitAll(context, segment, turn);
      Finish(context, status.ok() ? work() : status, done);
    });
  }

  // Waits until this turn is in that segment of all processes.
  absl::Status AwaitAll(tf::OpKernelContext* context, size_t segment, uint32_t turn) {
    const auto is_cancelled = [context] {
      return context->cancellation_manager() != nullptr && context->cancellation_manager()->IsCancelled();
    };
    for (size_t i = 0; i < processes(); ++i) {
      const std::string wrong = Await(&At(i, segment).header()->turn, turn, pids_[i], is_cancelled);
      if (!wrong.empty()) return is_cancelled() ? absl::CancelledError(wrong) : absl::FailedPreconditionError(wrong);
    }
    return absl::OkStatus();
  }

 private:
  static void Finish(tf::OpKernelContext* context, const absl::Status& status, const DoneCallback& done) {
    if (!status.ok()) context->CtxFailure(status);
    done();
  }

  std::vector<int> pids_;
  int process_;
  std::vector<Segment> segments_;  // of the first process, of the second, ...
  tf::thread::ThreadPool waiter_;  // last: it ends before what it uses does
};

// R messages of this process -> those of all W replicas, by rank. A segment has each message behind its length.
class SharedGatherOp : public SharedMemoryOp {
 public:
  explicit SharedGatherOp(tf::OpKernelConstruction* context) : SharedMemoryOp(context) {
    OP_REQUIRES_OK(context, context->GetAttr("replicas_by_process", &replicas_));
  }

  void ComputeAsync(tf::OpKernelContext* context, DoneCallback done) override {
    const int own = replicas_[process()];
    int64_t total = own;
    for (int i = 0; i < own; ++i) total += context->input(i).NumElements();
    const uint32_t turn = Begin();
    Segment& segment = At(process(), turn % kSegments);
    OP_REQUIRES_OK_ASYNC(context, NoMemory(segment.Grow(total)), done);
    uint32_t* out = segment.words();
    for (int i = 0; i < own; ++i) {
      const int64_t length = context->input(i).NumElements();
      *out++ = static_cast<uint32_t>(length);
      std::memcpy(out, context->input(i).flat<int32_t>().data(), length * sizeof(uint32_t));
      out += length;
    }
    segment.header()->words = total;
    Publish(&segment.header()->turn, turn);
    const size_t used = turn % kSegments;
    Then(context, used, turn, std::move(done), [this, context, used] { return Read(context, used); });
  }

 private:
  absl::Status Read(tf::OpKernelContext* context, size_t used) {
    int rank = 0;
    for (size_t i = 0; i < processes(); ++i) {
      Segment& segment = At(i, used);
      const int64_t total = segment.header()->words;
      TF_RETURN_IF_ERROR(NoMemory(segment.View(total)));
      const uint32_t* in = segment.words();
      const uint32_t* end = in + total;
      for (int j = 0; j < replicas_[i]; ++j, ++rank) {
        if (in >= end || end - in <= static_cast<int64_t>(*in)) {
          return absl::DataLossError(
              absl::StrCat("tfscale: the message of rank ", rank, " is damaged: its length is wrong"));
        }
        const int64_t length = *in++;
        tf::Tensor* message;
        TF_RETURN_IF_ERROR(context->allocate_output(rank, {length}, &message));
        std::memcpy(message->flat<int32_t>().data(), in, length * sizeof(uint32_t));
        in += length;
      }
    }
    return absl::OkStatus();
  }

  std::vector<int> replicas_;  // of each process
};

// A vector [D] of each process -> their sum over W, added by process: each process adds one share of it for all.
class SharedMeanOp : public SharedMemoryOp {
 public:
  explicit SharedMeanOp(tf::OpKernelConstruction* context) : SharedMemoryOp(context) {
    OP_REQUIRES_OK(context, context->GetAttr("replicas", &replicas_));
  }

  void ComputeAsync(tf::OpKernelContext* context, DoneCallback done) override {
    const int64_t length = context->input(0).NumElements();
    const uint32_t turn = Begin();
    Segment& segment = At(process(), kVector);
    OP_REQUIRES_OK_ASYNC(context, NoMemory(segment.Grow(length)), done);
    OP_REQUIRES_OK_ASYNC(context, NoMemory(At(process(), kShare).Grow(length / processes() + 1)), done);
    Copy(context, context->input(0).flat<float>().data(), segment.floats(), length);
    segment.header()->words = length;
    Publish(&segment.header()->turn, turn);
    Then(context, kVector, turn, std::move(done), [this, context, turn, length] { return Add(context, turn, length); });
  }

 private:
  static constexpr size_t kVector = 0, kShare = 1;  // segments by their content

  static void Copy(tf::OpKernelContext* context, const float* from, float* to, int64_t length) {
    ThreadsOf(context)(length, 1, [&](int64_t begin, int64_t end) {
      std::memcpy(to + begin, from + begin, (end - begin) * sizeof(float));
    });
  }

  // The first element of a process's share.
  int64_t Start(size_t process, int64_t length) const { return length * process / processes(); }

  absl::Status Add(tf::OpKernelContext* context, uint32_t turn, int64_t length) {
    std::vector<const float*> vectors;
    for (size_t i = 0; i < processes(); ++i) {
      Segment& segment = At(i, kVector);
      if (static_cast<int64_t>(segment.header()->words) != length) {
        return absl::InvalidArgumentError("processes came to a mean with vectors of different lengths");
      }
      TF_RETURN_IF_ERROR(NoMemory(segment.View(length)));
      vectors.push_back(segment.floats());
    }
    const int64_t start = Start(process(), length);
    float* share = At(process(), kShare).floats();
    ThreadsOf(context)(Start(process() + 1, length) - start, processes(), [&](int64_t begin, int64_t end) {
      MeanOfVectors(vectors, start, begin, end, static_cast<float>(replicas_), share);
    });
    Publish(&At(process(), kShare).header()->turn, turn);
    tf::Tensor* mean;
    TF_RETURN_IF_ERROR(context->allocate_output(0, context->input(0).shape(), &mean));
    TF_RETURN_IF_ERROR(AwaitAll(context, kShare, turn));
    for (size_t i = 0; i < processes(); ++i) {
      TF_RETURN_IF_ERROR(NoMemory(At(i, kShare).View(length / processes() + 1)));
      const int64_t from = Start(i, length);
      Copy(context, At(i, kShare).floats(), mean->flat<float>().data() + from, Start(i + 1, length) - from);
    }
    return absl::OkStatus();
  }

  int replicas_;
};

REGISTER_KERNEL_BUILDER(Name("TfscaleSharedGather").Device(tf::DEVICE_CPU), SharedGatherOp);
REGISTER_KERNEL_BUILDER(Name("TfscaleSharedMean").Device(tf::DEVICE_CPU), SharedMeanOp);

#endif

}  // namespace
}  // namespace tfscale
