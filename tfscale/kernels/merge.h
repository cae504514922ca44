// Merge: what all replicas send of one part of the elements becomes one list, the sum of theirs.
#ifndef TFSCALE_KERNELS_MERGE_H_
#define TFSCALE_KERNELS_MERGE_H_

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "decode.h"
#include "layout.h"
#include "bundle.h"
#include "message.h"
#include "parallel.h"
#include "sum.h"

namespace tfscale {

// The sparse tensors' elements [begin, end) of a list.
inline int64_t CountBetween(const ElementList& list, int64_t begin, int64_t end) {
  const Element *from = list.memory.get(), *to = from + list.count;
  const auto first = std::lower_bound(from, to, static_cast<Element>(begin) << 1);
  return (end >= INT64_C(1) << 31 ? to : std::lower_bound(first, to, static_cast<Element>(end) << 1)) - first;
}

// Keeps memory from step to step. One caller at a time.
class Merger {
 public:
  // `part` of `parts`.
  Merger(Layout layout, int levels, int64_t parts, int64_t part)
      : decoder_(std::move(layout), 1.0f, levels),
        begin_(PartBegin(decoder_.layout().size, parts, part)),
        end_(PartBegin(decoder_.layout().size, parts, part + 1)) {}

  const Decoder& decoder() const { return decoder_; }

  // Verifies and reads all messages, by rank, and counts; returns the first fault.
  Fault Read(const ParallelFor& parallel, const std::vector<MessageView>& messages, Word step, Word threshold,
             int64_t proposals) {
    const Fault fault = decoder_.Read(parallel, messages, step, threshold, proposals);
    if (!fault.what.empty()) return fault;
    elements_.clear();
    if (decoder_.skip()) return {};
    for (size_t i = 0; i < decoder_.lists().size(); ++i) {
      const ElementList& list = decoder_.lists()[i];
      if (list.count == 0) continue;
      if (list.memory[0] >> 1 < begin_ || list.memory[list.count - 1] >> 1 >= end_) {
        return {static_cast<int64_t>(i), "elements of another part"};
      }
    }
    Add();
    return {};
  }

  // The sum: each element as often as it was sent with this sign more than with the other; ascending.
  const std::vector<Element>& elements() const { return elements_; }

  // Writes the number of elements that were sent of each tensor [T].
  void CountSent(int64_t* counts) const {
    const Layout& layout = decoder_.layout();
    std::fill_n(counts, layout.sizes.size(), 0);
    if (decoder_.skip()) return;
    for (int64_t tensor = 0; tensor < layout.Tensors(); ++tensor) {
      const int64_t begin = std::max(begin_, layout.starts[tensor]), end = std::min(end_, layout.ends[tensor]);
      if (layout.dense[tensor] || begin >= end) continue;
      for (const ElementList& list : decoder_.lists()) counts[tensor] += CountBetween(list, begin, end);
    }
  }

 private:
  void Add() {
    numbers_.assign(end_ - begin_, 0);
    for (const ElementList& list : decoder_.lists()) {
      for (int64_t i = 0; i < list.count; ++i) {
        numbers_[(list.memory[i] >> 1) - begin_] += 1 - 2 * static_cast<int>(list.memory[i] & 1U);
      }
    }
    for (int64_t i = 0; i < end_ - begin_; ++i) {
      if (numbers_[i] == 0) continue;
      elements_.insert(elements_.end(), std::abs(numbers_[i]),
                       static_cast<Element>(begin_ + i) << 1 | (numbers_[i] < 0 ? 1U : 0U));
    }
  }

  Decoder decoder_;
  int64_t begin_, end_;
  std::vector<int32_t> numbers_;
  std::vector<Element> elements_;
};

// Reads the sums of all parts: sum messages, whose tail has the words that their rank has received, and how many
// elements were sent of each tensor of the part, as int64.
class SumReader {
 public:
  SumReader(Layout layout, float scale, int levels, int64_t parts)
      : layout_(std::move(layout)), scale_(scale), levels_(levels), parts_(parts), lists_(parts) {}

  const Layout& layout() const { return layout_; }

  // Verifies and reads all messages, by rank; returns the first fault.
  Fault Read(const ParallelFor& parallel, const std::vector<MessageView>& messages, Word step, Word threshold) {
    for (ElementList& list : lists_) list.count = 0;
    tails_.assign(parts_, nullptr);
    std::vector<std::string> wrong(parts_);
    const Word digest = MajorityDigest(messages);
    parallel(parts_, 1 << 16, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) wrong[i] = ReadOne(messages[i], i, step, threshold, digest);
    });
    for (int64_t i = 0; i < parts_; ++i) {
      if (!wrong[i].empty()) return {i, wrong[i]};
    }
    return {};
  }

  // Writes the scaled sum [D], dense tensors apart, and the number of elements sent of each tensor [T]; returns the
  // words that all have received.
  int64_t Sum(const ParallelFor& parallel, const Thresholds& thresholds, float* out, int64_t* counts) const {
    parallel(static_cast<int64_t>(layout_.chunks.size()), kChunk, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const Range& chunk = layout_.chunks[i];
        SumChunk(lists_, chunk, thresholds.Of(chunk.tensor) * scale_, levels_, out);
      }
    });
    std::fill_n(counts, layout_.sizes.size(), 0);
    int64_t words = 0;
    for (int64_t i = 0; i < parts_; ++i) {
      words += TailAt(i, 0);
      const Range tensors = TensorsOf(i);
      for (int64_t j = 0; j < tensors.length; ++j) counts[tensors.start + j] += TailAt(i, 1 + j);
    }
    return words;
  }

  // Writes the scaled sums of dense values [F] into the sum [D].
  void PlaceDense(const float* sums, float* out) const {
    for (int64_t tensor = 0; tensor < layout_.Tensors(); ++tensor) {
      if (!layout_.dense[tensor]) continue;
      for (int64_t i = 0; i < layout_.sizes[tensor]; ++i) out[layout_.starts[tensor] + i] = *sums++ * scale_;
    }
  }

 private:
  // The tensors that have elements in a part.
  Range TensorsOf(int64_t part) const {
    const int64_t begin = PartBegin(layout_.size, parts_, part), end = PartBegin(layout_.size, parts_, part + 1);
    if (begin == end) return {0, 0, 0};
    const int64_t first = layout_.TensorOf(begin);
    return {0, first, layout_.TensorOf(end - 1) - first + 1};
  }

  int64_t TailAt(int64_t part, int64_t number) const {
    int64_t value;
    std::memcpy(&value, tails_[part] + 2 * number, sizeof value);
    return value;
  }

  // Returns what is wrong, or nothing.
  std::string ReadOne(const MessageView& message, int64_t rank, Word step, Word threshold, Word digest) {
    std::string wrong = HeaderFault(message, step, threshold, digest);
    if (!wrong.empty()) return wrong;
    const int64_t tail = 2 * (1 + TensorsOf(rank).length), count = message.words[kCount];
    const int64_t begin = PartBegin(layout_.size, parts_, rank), end = PartBegin(layout_.size, parts_, rank + 1);
    const int64_t length = message.length - kHeader - tail, most = levels_ * parts_;
    if (length < 0) return "it is cut off";
    if (count > most * (end - begin)) return "more elements than its part has";
    if (count > kDensest * length) return "more elements than it has room for";
    const Word* payload = message.words + kHeader;
    tails_[rank] = payload + length;
    ElementList& list = lists_[rank];
    Element* out = list.Resize(count);
    wrong = DecodePayload(FormatOf(message.words), payload, length, count, layout_.size, static_cast<int>(most), out);
    if (!wrong.empty() || count == 0) return wrong;
    return out[0] >> 1 < begin || out[count - 1] >> 1 >= end ? "elements of another part" : "";
  }

  Layout layout_;
  float scale_;
  int levels_;
  int64_t parts_;
  std::vector<ElementList> lists_;
  std::vector<const Word*> tails_;  // in the messages
};

}  // namespace tfscale

#endif  // TFSCALE_KERNELS_MERGE_H_
