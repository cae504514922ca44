// TfscalePack: sent elements into a message with the shortest of the allowed codes, or a proposal into an opening.
#ifndef TFSCALE_KERNELS_PACK_H_
#define TFSCALE_KERNELS_PACK_H_

#include <cstring>
#include <vector>

#include "layout.h"
#include "message.h"
#include "rice_pack.h"

namespace tfscale {

class Pack : public tf::OpKernel {
 public:
  explicit Pack(tf::OpKernelConstruction* context) : OpKernel(context) {
    std::vector<int> formats;
    OP_REQUIRES_OK(context, context->GetAttr("formats", &formats));
    OP_REQUIRES_OK(context, context->GetAttr("size", &size_));
    for (const int format : formats) allowed_ |= 1U << format;
  }

  void Compute(tf::OpKernelContext* context) override {
    const tf::Tensor& elements = context->input(0);
    const tf::Tensor& small = context->input(1);
    const bool sound = context->input(2).scalar<bool>()();
    const tf::Tensor& proposal = context->input(3);
    const auto header = context->input(4).flat<int32_t>();  // step, threshold, digest, strain
    const Sent* sent = reinterpret_cast<const Sent*>(elements.flat<int32_t>().data());
    const bool opens = sound && proposal.NumElements() > 0;
    const int64_t count = sound && !opens ? elements.NumElements() : 0;
    const int64_t whole = sound ? small.NumElements() : 0;
    std::vector<RiceBlock> blocks;
    Format format = opens ? kOpening : kVoid;
    const int64_t length = opens ? proposal.NumElements() : sound ? Choose(context, sent, count, &format, &blocks) : 0;
    tf::Tensor* message;
    OP_REQUIRES_OK(context, context->allocate_output(0, {kHeader + length + whole}, &message));
    Word* out = reinterpret_cast<Word*>(message->flat<int32_t>().data());
    Word* payload = out + kHeader;
    if (format == kOpening) std::memcpy(payload, proposal.flat<float>().data(), length * sizeof(Word));
    if (format == kWord32) std::memcpy(payload, sent, count * sizeof(Word));
    if (format == kBitmap) PackBitmap(sent, count, size_, payload);
    if (format == kRice) {
      std::memset(payload, 0, length * sizeof(Word));
      Parallel(context, blocks.size(), kBlock * 8, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) PackRice(blocks[i], sent, i, payload);
      });
    }
    std::memcpy(payload + length, small.flat<float>().data(), whole * sizeof(Word));
    const Word fields[] = {format | static_cast<Word>(header(3)) << 8, static_cast<Word>(header(0)), static_cast<Word>(header(1)),
                           static_cast<Word>(count), static_cast<Word>(header(2)), 0};
    std::memcpy(out, fields, sizeof fields);
    out[kChecksum] = Checksum(out, kHeader + length + whole);
  }

 private:
  // The shortest allowed code; the first of equals.
  int64_t Choose(tf::OpKernelContext* context, const Sent* sent, int64_t count, Format* format,
                 std::vector<RiceBlock>* blocks) {
    int64_t shortest = INT64_MAX;
    const auto take = [&](Format which, int64_t length) {
      if ((allowed_ >> which & 1U) && length < shortest) shortest = length, *format = which;
    };
    take(kWord32, count);
    take(kBitmap, BitmapWords(size_));
    if (allowed_ >> kRice & 1U) {
      blocks->resize(BlocksOf(count));
      Parallel(context, blocks->size(), kBlock * 2, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) (*blocks)[i] = PlanBlock(sent, count, i);
      });
      take(kRice, Place(blocks));
    }
    return shortest;
  }

  unsigned allowed_ = 0;
  int64_t size_;
};

}  // namespace tfscale

#endif  // TFSCALE_KERNELS_PACK_H_
