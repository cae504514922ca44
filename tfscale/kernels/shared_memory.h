// Memory that the processes of one host share, and exchanges through it.
//
// Each process writes to segments of its own and reads those of the others. A segment's turn is the number of the
// exchange whose data it holds; a process that waits for a turn spins for a moment, then sleeps in the kernel. Each
// process has two segments. A gather uses them in alternation: a process that writes its next message has read the
// others' last ones, but they may still read its own. A mean keeps the vector in one, and the process's share of the
// sum in the other: when the next vector arrives, all have added the last one, and when the next share does, all have
// read the last one. All counts are in the segments, not in the operations, which TensorFlow may make anew any time.
#ifndef TFSCALE_KERNELS_SHARED_MEMORY_H_
#define TFSCALE_KERNELS_SHARED_MEMORY_H_

#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "platform.h"

namespace tfscale {

constexpr auto kSpin = std::chrono::microseconds(50);  // before sleeping: about as long as it takes to wake up
constexpr auto kLimit = std::chrono::hours(1);         // no exchange takes longer
constexpr long kNap = 100 * 1000 * 1000;               // nanoseconds between two checks that a process is alive

struct SegmentHeader {
  std::atomic<uint32_t> turn;  // the exchange whose data is here
  uint32_t count;              // exchanges begun by the process; in its first segment
  uint64_t words;              // that are here
};
constexpr int64_t kSegmentHeader = 64;  // bytes: a line of the cache
constexpr size_t kSegments = 2;         // of a process
static_assert(sizeof(SegmentHeader) <= kSegmentHeader && std::atomic<uint32_t>::is_always_lock_free,
              "a header must fit, and be shareable");

// Memory behind a descriptor, as large as its owner has made it.
class Segment {
 public:
  explicit Segment(int descriptor) : descriptor_(descriptor) {}
  Segment(Segment&& other) noexcept : descriptor_(other.descriptor_), base_(other.base_), bytes_(other.bytes_) {
    other.base_ = nullptr;
  }
  ~Segment() {
    if (base_ != nullptr) munmap(base_, bytes_);
  }

  // Makes the segment large enough for `words`; for its owner. Returns what is wrong, or nothing.
  std::string Grow(int64_t words) {
    if (kSegmentHeader + 4 * words <= bytes_) return "";
    const int64_t bytes = kSegmentHeader + 4 * (words + words / 4);
    int wrong;
    while ((wrong = posix_fallocate(descriptor_, 0, bytes)) == EINTR) {
    }
    if (wrong != 0) return Unusable("no " + std::to_string(bytes) + " bytes of memory to share", wrong);
    return Map(bytes);
  }
  // Maps `words` that the owner has made. Returns what is wrong, or nothing.
  std::string View(int64_t words) {
    const int64_t bytes = kSegmentHeader + 4 * words;
    return bytes <= bytes_ ? "" : Map(bytes);
  }

  SegmentHeader* header() const { return static_cast<SegmentHeader*>(base_); }
  uint32_t* words() const { return reinterpret_cast<uint32_t*>(static_cast<char*>(base_) + kSegmentHeader); }
  float* floats() const { return reinterpret_cast<float*>(words()); }

 private:
  std::string Map(int64_t bytes) {
    if (base_ != nullptr) munmap(base_, bytes_);
    base_ = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor_, 0);
    bytes_ = base_ == MAP_FAILED ? 0 : bytes;
    if (base_ != MAP_FAILED) return "";
    base_ = nullptr;
    return Unusable("memory cannot be shared", errno);
  }

  static std::string Unusable(const std::string& what, int error) {
    return "tfscale: " + what + " (" + std::strerror(error) + "); set strategy.collective.shared_memory=false";
  }

  int descriptor_;
  void* base_ = nullptr;
  int64_t bytes_ = 0;
};

// Sets a turn, and wakes all processes that wait for it.
inline void Publish(std::atomic<uint32_t>* word, uint32_t turn) {
  word->store(turn, std::memory_order_release);
  syscall(SYS_futex, word, FUTEX_WAKE, INT32_MAX, nullptr, nullptr, 0);
}

// Returns true if the turn comes within the limit.
inline bool Spin(const std::atomic<uint32_t>& word, uint32_t turn, std::chrono::nanoseconds limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  do {
    for (int i = 0; i < 64; ++i) {
      if (word.load(std::memory_order_acquire) == turn) return true;
    }
  } while (std::chrono::steady_clock::now() < end);
  return false;
}

// Waits until a process sets the turn. Returns what is wrong, or nothing.
inline std::string Await(std::atomic<uint32_t>* word, uint32_t turn, int process,
                         const std::function<bool()>& is_cancelled) {
  const auto end = std::chrono::steady_clock::now() + kLimit;
  while (!Spin(*word, turn, kSpin)) {
    const uint32_t before = word->load(std::memory_order_acquire);
    const timespec nap{0, kNap};
    if (before != turn) syscall(SYS_futex, word, FUTEX_WAIT, before, &nap, nullptr, 0);
    if (word->load(std::memory_order_acquire) == turn) break;
    if (is_cancelled()) return "tfscale: the exchange was cancelled";
    const bool gone = kill(process, 0) != 0 && errno == ESRCH;
    if (word->load(std::memory_order_acquire) == turn) break;  // the process set it before it ended
    if (gone || std::chrono::steady_clock::now() > end) {
      return "tfscale: another process of the job (" + std::to_string(process) + ") " +
             (gone ? "is gone" : "has not come for an hour");
    }
  }
  return "";
}

// Adds the elements [begin, end) of all processes' vectors from `start` on, in order, and divides by the replicas.
TFSCALE_CLONES inline void MeanOfVectors(const std::vector<const float*>& vectors, int64_t start, int64_t begin,
                                         int64_t end, float replicas, float* out) {
  constexpr int64_t kBlockLength = 4096;  // stays in the cache while all vectors are added to it
  for (int64_t at = begin; at < end; at += kBlockLength) {
    const int64_t length = std::min(kBlockLength, end - at);
    float* __restrict__ sum = out + at;
    std::memcpy(sum, vectors[0] + start + at, length * sizeof(float));
    for (size_t i = 1; i < vectors.size(); ++i) {
      const float* __restrict__ in = vectors[i] + start + at;
      for (int64_t j = 0; j < length; ++j) sum[j] += in[j];
    }
    for (int64_t j = 0; j < length; ++j) sum[j] /= replicas;
  }
}

}  // namespace tfscale

#endif  // TFSCALE_KERNELS_SHARED_MEMORY_H_
