// Bundles: a message for each of W ranks, one after the other, behind their W lengths.
//
// Where replicas divide the work of adding, each adds one part of the elements: a replica's bundle has its elements of
// each part, and the bundle that it receives has those of all replicas for its own.
#ifndef TFSCALE_KERNELS_BUNDLE_H_
#define TFSCALE_KERNELS_BUNDLE_H_

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "encode.h"
#include "message.h"
#include "parallel.h"

namespace tfscale {

// The first element of a part of a model with `size` elements; that of the part after the last one is `size`.
inline int64_t PartBegin(int64_t size, int64_t parts, int64_t number) { return size * number / parts; }

// Finds the messages of a bundle; returns the first rank whose length is wrong, or -1.
inline int64_t Unpack(const MessageView& bundle, int64_t parts, std::vector<MessageView>* messages) {
  if (bundle.length < parts) return 0;
  int64_t at = parts;
  for (int64_t i = 0; i < parts; ++i) {
    const int64_t length = bundle.words[i];
    if (length > bundle.length - at) return i;
    messages->push_back({bundle.words + at, length});
    at += length;
  }
  return at == bundle.length ? -1 : parts - 1;
}

// A bundle, planned first, so that the caller can allocate Length() words, and then written.
class BundleEncoder {
 public:
  // Cuts a list of elements into the parts; each message has all dense values.
  static BundleEncoder Sparse(const ParallelFor& parallel, unsigned allowed, const Element* elements, int64_t count,
                              int64_t size, int levels, FloatView dense_values, int64_t parts) {
    std::vector<Encoder> encoders(parts, Encoder::Skip());
    parallel(parts, 1 + count / parts * 8, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const Element* from = Find(elements, count, PartBegin(size, parts, i));
        const Element* to = Find(elements, count, PartBegin(size, parts, i + 1));
        encoders[i] = Encoder::Sparse(SerialFor, allowed, from, to - from, size, levels, dense_values);
      }
    });
    return BundleEncoder(std::move(encoders));
  }

  // The same message to all.
  static BundleEncoder Same(const Encoder& encoder, int64_t parts) {
    return BundleEncoder(std::vector<Encoder>(parts, encoder));
  }

  int64_t Length() const { return starts_.back(); }

  void Write(const ParallelFor& parallel, const HeaderFields& header, Word* out) const {
    const int64_t parts = static_cast<int64_t>(encoders_.size());
    parallel(parts, 1 + Length() / parts * 8, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        out[i] = static_cast<Word>(encoders_[i].Length());
        encoders_[i].Write(SerialFor, header, out + starts_[i]);
      }
    });
  }

 private:
  explicit BundleEncoder(std::vector<Encoder> encoders) : encoders_(std::move(encoders)) {
    starts_.push_back(static_cast<int64_t>(encoders_.size()));
    for (const Encoder& encoder : encoders_) starts_.push_back(starts_.back() + encoder.Length());
  }

  // The first element of the list with this index or a later one.
  static const Element* Find(const Element* elements, int64_t count, int64_t index) {
    if (index >= INT64_C(1) << 31) return elements + count;
    return std::lower_bound(elements, elements + count, static_cast<Element>(index) << 1);
  }

  std::vector<Encoder> encoders_;
  std::vector<int64_t> starts_;
};

}  // namespace tfscale

#endif  // TFSCALE_KERNELS_BUNDLE_H_
