// Stage 4, decode: the messages of all replicas are verified, read and added.
#ifndef TFSCALE_KERNELS_DECODE_H_
#define TFSCALE_KERNELS_DECODE_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "checksum.h"
#include "layout.h"
#include "message.h"
#include "parallel.h"
#include "payload.h"
#include "sum.h"
#include "usable.h"

namespace tfscale {

// A message that fails its checks: whose it is, and what is wrong with it, or nothing.
struct Fault {
  int64_t rank;
  std::string what;
};

// The digest that most messages have, the first of equally frequent ones: who differs from it is to be named.
inline Word MajorityDigest(const std::vector<MessageView>& messages) {
  const auto digest = [](const MessageView& message) {
    return message.length >= kHeader ? message.words[kDigest] : 0;
  };
  Word majority = 0;
  int most = 0;
  for (const MessageView& message : messages) {
    if (most > 0 && digest(message) == majority) continue;
    int votes = 0;
    for (const MessageView& other : messages) votes += digest(other) == digest(message);
    if (votes > most) most = votes, majority = digest(message);
  }
  return majority;
}

// Returns what is wrong with a message's header or its sum, or nothing.
inline std::string HeaderFault(const MessageView& message, Word step, Word threshold, Word digest) {
  const Word* words = message.words;
  if (message.length < kHeader) return "shorter than its header";
  if (words[kChecksum] != Checksum(words, message.length)) return "its checksum is wrong";
  if (words[kStep] != step) return "it is of another step";
  if (words[kThreshold] != threshold) return "it has another threshold";
  if (words[kDigest] != digest) return "its parameters differ from the others'";
  return "";
}

// Keeps memory from step to step: new memory would cost more than its use. One caller at a time.
class Decoder {
 public:
  Decoder(Layout layout, float scale, int levels) : layout_(std::move(layout)), scale_(scale), levels_(levels) {}

  const Layout& layout() const { return layout_; }

  // Verifies and reads all messages, by rank; returns the first fault. `proposals`: thresholds that each must propose.
  Fault Read(const ParallelFor& parallel, const std::vector<MessageView>& messages, Word step, Word threshold,
             int64_t proposals) {
    const size_t replicas = messages.size();
    lists_.resize(replicas);
    for (ElementList& list : lists_) list.count = 0;
    proposals_.assign(replicas, nullptr);
    dense_values_.assign(replicas, nullptr);
    std::vector<std::string> wrong(replicas);
    const Word digest = MajorityDigest(messages);
    parallel(static_cast<int64_t>(replicas), 1 << 16, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) wrong[i] = ReadOne(messages[i], i, step, threshold, digest, proposals);
    });
    skip_ = false;
    residual_ratio_ = 0;
    skipped_ = 0;
    for (size_t i = 0; i < replicas; ++i) {
      if (!wrong[i].empty()) return {static_cast<int64_t>(i), wrong[i]};
      skip_ = skip_ || FormatOf(messages[i].words) == kSkip;
      residual_ratio_ = std::max(residual_ratio_, ResidualRatioOf(messages[i].words));
      skipped_ += SkippedOf(messages[i].words);
    }
    return {};
  }

  // True if a replica asks to skip the step: then there is no sum.
  bool skip() const { return skip_; }
  // The largest of all.
  Word residual_ratio() const { return residual_ratio_; }
  // Steps that replicas have skipped alone, of all.
  int64_t skipped() const { return skipped_; }
  // The elements of each message.
  const std::vector<ElementList>& lists() const { return lists_; }

  // Writes the mean of all proposals, added by rank; a tensor without a proposal takes the largest mean of the others.
  void MeanProposal(float* out, int64_t count) const {
    float largest = 0;
    for (int64_t i = 0; i < count; ++i) {
      out[i] = 0;
      for (const float* proposal : proposals_) out[i] += proposal[i];
      out[i] *= 1.0f / static_cast<float>(proposals_.size());
      largest = std::max(largest, out[i]);
    }
    for (int64_t i = 0; i < count; ++i) out[i] = out[i] > 0 ? out[i] : largest;
  }

  // Writes the scaled sum [D], and the number of sparse elements sent of each tensor [T].
  void Sum(const ParallelFor& parallel, const Thresholds& thresholds, float* out, int64_t* counts) const {
    std::vector<int64_t> sent(layout_.chunks.size());
    parallel(static_cast<int64_t>(sent.size()), kChunk, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const Range& chunk = layout_.chunks[i];
        sent[i] = SumChunk(lists_, chunk, thresholds.Of(chunk.tensor) * scale_, levels_, out);
      }
    });
    std::fill_n(counts, layout_.sizes.size(), 0);
    for (size_t i = 0; i < sent.size(); ++i) counts[layout_.chunks[i].tensor] += sent[i];
    int64_t at = 0;
    for (int64_t tensor = 0; tensor < layout_.Tensors(); ++tensor) {
      if (!layout_.dense[tensor]) continue;
      for (int64_t i = 0; i < layout_.sizes[tensor]; ++i, ++at) out[layout_.starts[tensor] + i] = DenseAt(at) * scale_;
    }
  }

  // Writes the sums of the dense values [F].
  void DenseSums(float* out) const {
    for (int64_t i = 0; i < layout_.dense_size; ++i) out[i] = DenseAt(i);
  }

 private:
  // Returns what is wrong, or nothing.
  std::string ReadOne(const MessageView& message, int64_t rank, Word step, Word threshold, Word digest,
                      int64_t proposals) {
    const std::string wrong = HeaderFault(message, step, threshold, digest);
    if (!wrong.empty()) return wrong;
    const Word* words = message.words;
    if (FormatOf(words) == kSkip) return message.length == kHeader ? "" : "a skip message with a payload";
    const int64_t count = words[kCount], length = message.length - kHeader - layout_.dense_size;
    if (length < 0) return "it is cut off";
    if (count > levels_ * layout_.size) return "more elements than the model has";
    if (count > kDensest * length) return "more elements than it has room for";
    const Word* payload = words + kHeader;
    dense_values_[rank] = reinterpret_cast<const float*>(payload + length);
    if (proposals == 0 && FormatOf(words) != kProposal) {
      return DecodePayload(FormatOf(words), payload, length, count, layout_.size, levels_,
                           lists_[rank].Resize(count));
    }
    const float* proposal = proposals_[rank] = reinterpret_cast<const float*>(payload);
    const bool proposes = FormatOf(words) == kProposal && proposals > 0 && length == proposals && count == 0;
    if (proposes && AllThresholds(proposal, proposals)) return "";
    return "it proposes thresholds that are initialized, or no usable ones where they are not";
  }

  static bool AllThresholds(const float* values, int64_t count) {
    return std::all_of(values, values + count, [](float value) { return value >= 0; }) && AllUsable(values, count);
  }

  // Adds the dense values of a place by rank: the same bits everywhere.
  float DenseAt(int64_t at) const {
    float total = dense_values_[0][at];
    for (size_t rank = 1; rank < dense_values_.size(); ++rank) total += dense_values_[rank][at];
    return total;
  }

  Layout layout_;
  float scale_;
  int levels_;
  bool skip_ = false;
  Word residual_ratio_ = 0;
  int64_t skipped_ = 0;
  std::vector<ElementList> lists_;
  std::vector<const float*> proposals_, dense_values_;  // in the messages
};

}  // namespace tfscale

#endif  // TFSCALE_KERNELS_DECODE_H_
