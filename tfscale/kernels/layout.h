// A model's tensors in one vector [D], and the thresholds that go with them.
#ifndef TFSCALE_KERNELS_LAYOUT_H_
#define TFSCALE_KERNELS_LAYOUT_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace tfscale {

constexpr int64_t kChunk = 1 << 16;  // elements that one thread takes at a time

// A range of elements of one tensor.
struct Range {
  int64_t tensor, start, length;
};

struct Layout {
  Layout() = default;
  // `dense` has one entry a tensor, as `sizes`.
  Layout(const std::vector<int64_t>& sizes, const std::vector<bool>& dense) : sizes(sizes), dense(dense) {
    for (size_t i = 0; i < sizes.size(); ++i) {
      starts.push_back(size);
      for (int64_t at = 0; !dense[i] && at < sizes[i]; at += kChunk) {
        chunks.push_back({static_cast<int64_t>(i), size + at, std::min(kChunk, sizes[i] - at)});
      }
      if (dense[i]) dense_size += sizes[i];
      size += sizes[i];
      ends.push_back(size);
    }
  }
  int64_t Tensors() const { return static_cast<int64_t>(sizes.size()); }
  // The tensor that an element of the vector belongs to.
  int64_t TensorOf(int64_t index) const { return std::upper_bound(ends.begin(), ends.end(), index) - ends.begin(); }

  std::vector<int64_t> sizes, starts, ends;
  std::vector<bool> dense;
  std::vector<Range> chunks;  // of the sparse tensors
  int64_t size = 0, dense_size = 0;
};

// One threshold for all tensors, or one a tensor.
struct Thresholds {
  float Of(int64_t tensor) const { return values[count == 1 ? 0 : tensor]; }
  const float* values;
  int64_t count;
};

}  // namespace tfscale

#endif  // TFSCALE_KERNELS_LAYOUT_H_
