// The seam to threads: the algorithms know neither TensorFlow's thread pool nor any other.
#ifndef TFSCALE_KERNELS_PARALLEL_H_
#define TFSCALE_KERNELS_PARALLEL_H_

#include <cstdint>
#include <functional>

namespace tfscale {

// Processes the items [begin, end).
using RangeWork = std::function<void(int64_t begin, int64_t end)>;

// Calls work on ranges that together are [0, total), possibly at the same time. `cost` is an item's, in cycles.
using ParallelFor = std::function<void(int64_t total, int64_t cost, const RangeWork& work)>;

// All of it, in the caller's thread.
inline void SerialFor(int64_t total, int64_t /*cost*/, const RangeWork& work) { work(0, total); }

}  // namespace tfscale

#endif  // TFSCALE_KERNELS_PARALLEL_H_
