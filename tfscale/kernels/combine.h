// TfscaleCombine: the messages of all replicas into their sum; TfscaleDigest: parameters into a number.
//
// Signs are counted, as whole numbers in the place of each float, and made floats in a second look while their piece of
// the model is in the cache: the result does not depend on the order of messages.
#ifndef TFSCALE_KERNELS_COMBINE_H_
#define TFSCALE_KERNELS_COMBINE_H_

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "dense_pass.h"
#include "layout.h"
#include "message.h"
#include "rice_unpack.h"

namespace tfscale {

constexpr int64_t kPiece = 4096;  // elements of the sum that are made at a time, in the fastest cache
constexpr int64_t kDensest = 16;  // elements a word: no code takes fewer than two bits
constexpr int64_t kFew = 16;      // where fewer than one of so many was sent, only those are looked at again

// What a message lists, in room that is kept unless it is far too large. Not a vector, which would write zeros first.
struct List {
  Sent* Hold(int64_t elements) {
    if (elements + kLanes > room || (room > kChunk && elements < room / 16)) {
      own.reset();
      own.reset(new Sent[room = elements + elements / 4 + kLanes]);
    }
    count = elements;
    return own.get();
  }
  std::unique_ptr<Sent[]> own;
  int64_t room = 0, count = 0;
};

// A list of sent elements, read once from one end to the other.
struct Cursor {
  const Sent *begin, *next, *end;
};

// Writes a piece of the sum; returns how many elements were sent of it. Its memory is cleared first, by a memset that
// need not read it: that costs less than to count elsewhere and write once.
TFSCALE_CLONES inline int64_t AddPiece(std::vector<Cursor>* cursors, int64_t start, int64_t length, float quantum,
                                       float* out) {
  int32_t* whole_numbers = reinterpret_cast<int32_t*>(out);
  const uint64_t last = static_cast<uint64_t>(start + length) << 1;
  const int32_t replicas = static_cast<int32_t>(cursors->size());
  std::memset(whole_numbers + start, 0, length * sizeof(int32_t));
  int64_t count = 0;
  for (Cursor& own : *cursors) {
    const Sent *each = own.next, *end = own.end;
    for (; each < end && *each < last; ++each) whole_numbers[*each >> 1] += 1 - 2 * static_cast<int>(*each & 1U);
    count += each - own.next;
    own.next = each;
  }
  if (count * kFew >= length) {
    for (int64_t i = start; i < start + length; ++i) out[i] = static_cast<float>(whole_numbers[i]) * quantum;
    return count;
  }
  for (const Cursor& own : *cursors) {
    for (const Sent* each = own.next; each > own.begin && each[-1] >> 1 >= start; --each) {
      const Sent index = each[-1] >> 1;
      const int32_t number = whole_numbers[index];
      // What is already a float has an exponent, and is far from these few whole numbers.
      const bool counted = number <= replicas && number >= -replicas;
      out[index] = counted ? static_cast<float>(number) * quantum : out[index];
    }
  }
  return count;
}

// Writes one chunk of the sum; returns how many elements were sent of it.
inline int64_t AddChunk(const std::vector<List>& sent, const Part& chunk, float quantum, float* out) {
  std::vector<Cursor> cursors;
  for (const List& list : sent) {
    const Sent *begin = list.own.get(), *end = begin + list.count;
    cursors.push_back({begin, std::lower_bound(begin, end, static_cast<Sent>(chunk.start) << 1), end});
  }
  int64_t count = 0;
  for (int64_t at = 0; at < chunk.length; at += kPiece) {
    count += AddPiece(&cursors, chunk.start + at, std::min(kPiece, chunk.length - at), quantum, out);
  }
  return count;
}

class Combine : public tf::OpKernel {
 public:
  explicit Combine(tf::OpKernelConstruction* context) : OpKernel(context), layout_(context) {
    OP_REQUIRES_OK(context, context->GetAttr("scale", &scale_));
  }

  void Compute(tf::OpKernelContext* context) override {
    const auto header = context->input(0).flat<int32_t>();  // step, threshold
    const auto thresholds = context->input(1).flat<float>();
    const bool one = thresholds.size() == 1;
    OP_REQUIRES(context, one || thresholds.size() == static_cast<int64_t>(layout_.sizes.size()),
                absl::InvalidArgumentError("there must be 1 threshold or one a tensor"));
    const int replicas = context->num_inputs() - 2;
    tf::Tensor *sum, *counts, *is_void, *strain, *proposed;
    OP_REQUIRES_OK(context, context->allocate_output(0, {layout_.size}, &sum));
    OP_REQUIRES_OK(context, context->allocate_output(1, {static_cast<int64_t>(layout_.sizes.size())}, &counts));
    OP_REQUIRES_OK(context, context->allocate_output(2, {}, &is_void));
    OP_REQUIRES_OK(context, context->allocate_output(3, {}, &strain));
    OP_REQUIRES_OK(context, context->allocate_output(4, {thresholds.size()}, &proposed));
    const int64_t proposals = thresholds(0) > 0 ? 0 : thresholds.size();  // wanted of each replica
    float* out = sum->flat<float>().data();
    std::fill_n(counts->flat<int64_t>().data(), layout_.sizes.size(), 0);
    tf::mutex_lock lock(room_lock_);  // memory that is new at each step costs more than what is done with it
    room_.resize(replicas);
    for (List& list : room_) list.count = 0;
    std::vector<const float*> small(replicas, nullptr), proposal(replicas, nullptr);
    std::vector<std::string> wrong(replicas);
    std::vector<char> voids(replicas, 0);
    const Word digest = UsualDigest(context, replicas);
    Parallel(context, replicas, 1 << 16, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        wrong[i] = Open(At(context, i), context->input(2 + i).NumElements(), header(0), header(1), digest, proposals,
                        &room_[i], &proposal[i], &small[i]);
        voids[i] = wrong[i].empty() && FormatOf(At(context, i)) == kVoid;
      }
    });
    for (int i = 0; i < replicas; ++i) {
      OP_REQUIRES(context, wrong[i].empty(),
                  absl::DataLossError(absl::StrCat("tfscale: the message of rank ", i, " at step ", header(0), " is damaged: ", wrong[i])));
    }
    const bool skip = std::any_of(voids.begin(), voids.end(), [](char each) { return each != 0; });
    is_void->scalar<bool>()() = skip;
    Word largest = 0;
    for (int i = 0; i < replicas; ++i) largest = std::max(largest, StrainOf(At(context, i)));
    strain->scalar<int32_t>()() = static_cast<int32_t>(largest);
    proposed->flat<float>().setZero();
    if (skip) {
      std::fill_n(out, layout_.size, 0.0f);
      return;
    }
    if (proposals > 0) Agree(proposal, proposed->flat<float>().data(), proposals);
    std::vector<int64_t> found(layout_.chunks.size());
    Parallel(context, layout_.chunks.size(), kChunk, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const Part& chunk = layout_.chunks[i];
        found[i] = AddChunk(room_, chunk, thresholds(one ? 0 : chunk.tensor) * scale_, out);
      }
    });
    for (size_t i = 0; i < found.size(); ++i) counts->flat<int64_t>()(layout_.chunks[i].tensor) += found[i];
    AddSmall(small, out);
  }

 private:
  static const Word* At(tf::OpKernelContext* context, int64_t rank) {
    return reinterpret_cast<const Word*>(context->input(2 + rank).flat<int32_t>().data());
  }

  // The digest that most messages have: who differs from it is to be named. The first of them where none has more.
  static Word UsualDigest(tf::OpKernelContext* context, int replicas) {
    Word usual = 0;
    for (int i = 0, most = 0; i < replicas; ++i) {
      int votes = 0;
      for (int j = 0; j < replicas; ++j) votes += DigestAt(context, j) == DigestAt(context, i);
      if (votes > most) most = votes, usual = DigestAt(context, i);
    }
    return usual;
  }

  static Word DigestAt(tf::OpKernelContext* context, int64_t rank) {
    return context->input(2 + rank).NumElements() >= kHeader ? At(context, rank)[kDigest] : 0;
  }

  // Checks a message and lists what it sends. Returns what is wrong, or nothing.
  std::string Open(const Word* message, int64_t length, int32_t step, int32_t threshold, Word digest,
                   int64_t proposals, List* sent, const float** proposal, const float** small) const {
    if (length < kHeader) return "shorter than its header";
    if (message[kChecksum] != Checksum(message, length)) return "its checksum is wrong";
    if (message[kStep] != static_cast<Word>(step)) return "it is of another step";
    if (message[kThreshold] != static_cast<Word>(threshold)) return "it has another threshold";
    if (message[kDigest] != digest) return "its parameters differ from the others'";
    if (FormatOf(message) == kVoid) return length == kHeader ? "" : "an empty message with a payload";
    const int64_t count = message[kCount], rest = length - kHeader - layout_.small;
    if (rest < 0 || count > layout_.size) return "more elements than the model has";
    if (count > kDensest * rest) return "more elements than it has room for";
    const Word* payload = message + kHeader;
    *small = reinterpret_cast<const float*>(payload + rest);
    if (proposals > 0 || FormatOf(message) == kOpening) {
      *proposal = reinterpret_cast<const float*>(payload);
      bool opens = FormatOf(message) == kOpening && rest == proposals && count == 0;
      for (int64_t i = 0; opens && i < rest; ++i) opens = (*proposal)[i] >= 0 && Bits((*proposal)[i]) < kUnsound;
      return opens ? "" : "it proposes thresholds where there are some, or none (or no usable ones) where there are none";
    }
    return Unpack(FormatOf(message), payload, rest, count, layout_.size, sent->Hold(count));
  }

  // The mean of all proposals by rank; a tensor for which nobody proposes anything takes the largest of the others.
  static void Agree(const std::vector<const float*>& proposal, float* out, int64_t count) {
    float largest = 0;
    for (int64_t i = 0; i < count; ++i) {
      for (const float* each : proposal) out[i] += each[i];
      out[i] *= 1.0f / static_cast<float>(proposal.size());
      largest = std::max(largest, out[i]);
    }
    for (int64_t i = 0; i < count; ++i) out[i] = out[i] > 0 ? out[i] : largest;
  }

  // Adds what travels whole in the order of the replicas: the same bits everywhere.
  void AddSmall(const std::vector<const float*>& small, float* out) const {
    int64_t at = 0;
    for (size_t tensor = 0; tensor < layout_.sizes.size(); ++tensor) {
      if (!layout_.whole[tensor]) continue;
      for (int64_t i = 0; i < layout_.sizes[tensor]; ++i, ++at) {
        float total = small[0][at];
        for (size_t rank = 1; rank < small.size(); ++rank) total += small[rank][at];
        out[layout_.starts[tensor] + i] = total * scale_;
      }
    }
  }

  Layout layout_;
  float scale_;
  tf::mutex room_lock_;
  std::vector<List> room_;
};

class Digest : public tf::OpKernel {
 public:
  explicit Digest(tf::OpKernelConstruction* context) : OpKernel(context) {}

  void Compute(tf::OpKernelContext* context) override {
    uint64_t total = 0;
    Word start = 0;
    for (int i = 0; i < context->num_inputs(); ++i) {
      const Word* words = reinterpret_cast<const Word*>(context->input(i).flat<float>().data());
      const int64_t length = context->input(i).NumElements();
      std::atomic<uint64_t> part{0};
      Parallel(context, length, 1, [&](int64_t begin, int64_t end) {
        part += SumWords(words + begin, end - begin, start + static_cast<Word>(begin));
      });
      total += part;
      start += static_cast<Word>(length);
    }
    tf::Tensor* digest;
    OP_REQUIRES_OK(context, context->allocate_output(0, {}, &digest));
    digest->scalar<int32_t>()() = static_cast<int32_t>(static_cast<Word>(total) ^ static_cast<Word>(total >> 32));
  }
};

}  // namespace tfscale

#endif  // TFSCALE_KERNELS_COMBINE_H_
