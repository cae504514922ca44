// TfscaleShareMessages, TfscaleShareMean: exchange among the processes of one host, through memory that all of them see.
//
// Each process writes to seats of its own and reads those of the others. A seat's turn says which exchange it holds; who
// waits for one looks for a moment, then sleeps in the kernel. Each process has two seats. For messages they take turns: a
// process that writes its next message has read the others' last ones, but they may still read its own. For a mean one
// holds the vector, and the other the process's share of the sum: when the next vector comes, all have added the last
// one, and when the next share does, all have read the last one. What is counted is in the seats, not here: an operation
// may be made anew at any time.
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
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "layout.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/platform/threadpool.h"

namespace tfscale {

constexpr auto kLook = std::chrono::microseconds(50);  // before sleeping: about what it takes to be woken
constexpr auto kLimit = std::chrono::hours(1);         // no exchange is waited for any longer
constexpr long kNap = 100 * 1000 * 1000;               // nanoseconds until it is seen that a process is gone

struct Head {
  std::atomic<uint32_t> turn;  // the exchange that is here
  uint32_t count;              // exchanges begun by the process, in its first seat
  uint64_t words;              // that are here
};
constexpr int64_t kHead = 64;  // bytes: a line of the cache
constexpr size_t kSeats = 2;
static_assert(sizeof(Head) <= kHead && std::atomic<uint32_t>::is_always_lock_free, "a head must fit, and be shareable");

// Memory behind a descriptor, as large as its owner has made it.
class Seat {
 public:
  explicit Seat(int descriptor) : descriptor_(descriptor) {}
  Seat(Seat&& other) noexcept : descriptor_(other.descriptor_), base_(other.base_), bytes_(other.bytes_) {
    other.base_ = nullptr;
  }
  ~Seat() {
    if (base_ != nullptr) munmap(base_, bytes_);
  }

  // Room for `words`; the owner's, who makes it.
  absl::Status Make(int64_t words) {
    if (kHead + 4 * words <= bytes_) return absl::OkStatus();
    const int64_t bytes = kHead + 4 * (words + words / 4);
    int wrong;
    while ((wrong = posix_fallocate(descriptor_, 0, bytes)) == EINTR) {
    }
    if (wrong != 0) {
      return absl::ResourceExhaustedError(absl::StrCat("tfscale: no ", bytes, " bytes of memory to share (", std::strerror(wrong),
                                                       "); set strategy.collective.shared_memory=false"));
    }
    return Map(bytes);
  }
  // The same for those who read.
  absl::Status See(int64_t words) { return kHead + 4 * words <= bytes_ ? absl::OkStatus() : Map(kHead + 4 * words); }

  Head* head() const { return static_cast<Head*>(base_); }
  uint32_t* words() const { return reinterpret_cast<uint32_t*>(static_cast<char*>(base_) + kHead); }

 private:
  absl::Status Map(int64_t bytes) {
    if (base_ != nullptr) munmap(base_, bytes_);
    base_ = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor_, 0);
    bytes_ = base_ == MAP_FAILED ? 0 : bytes;
    if (base_ != MAP_FAILED) return absl::OkStatus();
    base_ = nullptr;
    return absl::ResourceExhaustedError(absl::StrCat("tfscale: memory cannot be shared (", std::strerror(errno),
                                                     "); set strategy.collective.shared_memory=false"));
  }

  int descriptor_;
  void* base_ = nullptr;
  int64_t bytes_ = 0;
};

inline void Announce(std::atomic<uint32_t>* word, uint32_t turn) {
  word->store(turn, std::memory_order_release);
  syscall(SYS_futex, word, FUTEX_WAKE, INT32_MAX, nullptr, nullptr, 0);
}

inline bool Appears(const std::atomic<uint32_t>& word, uint32_t turn, std::chrono::nanoseconds limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  do {
    for (int i = 0; i < 64; ++i) {
      if (word.load(std::memory_order_acquire) == turn) return true;
    }
  } while (std::chrono::steady_clock::now() < end);
  return false;
}

// What both exchanges have in common: seats, who sits there, and a thread that waits in the operation's place.
class Share : public tf::AsyncOpKernel {
 public:
  explicit Share(tf::OpKernelConstruction* context)
      : AsyncOpKernel(context), waiter_(context->env(), "tfscale_share", 1) {
    std::vector<int> descriptors;
    OP_REQUIRES_OK(context, context->GetAttr("descriptors", &descriptors));
    OP_REQUIRES_OK(context, context->GetAttr("processes", &processes_));
    OP_REQUIRES_OK(context, context->GetAttr("own", &own_));
    OP_REQUIRES(context, descriptors.size() == kSeats * processes_.size(),
                absl::InvalidArgumentError("there must be two seats a process"));
    for (const int descriptor : descriptors) seats_.emplace_back(descriptor);
    for (Seat& seat : seats_) OP_REQUIRES_OK(context, seat.See(0));
  }

 protected:
  size_t size() const { return processes_.size(); }
  size_t own() const { return own_; }

  // The number of the exchange that begins now.
  uint32_t Begin() { return ++At(own_, 0).head()->count; }
  Seat& At(size_t process, size_t seat) { return seats_[kSeats * process + seat]; }

  // Does `work` when this turn is in that seat of all; at once if it is, so that nothing need be woken.
  void Then(tf::OpKernelContext* context, size_t seat, uint32_t turn, DoneCallback done,
            std::function<absl::Status()> work) {
    bool here = true;
    for (size_t i = 0; here && i < size(); ++i) here = Appears(At(i, seat).head()->turn, turn, kLook);
    if (here) {
      Finish(context, work(), done);
      return;
    }
    waiter_.Schedule([this, context, seat, turn, done = std::move(done), work = std::move(work)] {
      const absl::Status status = Await(context, seat, turn);
      Finish(context, status.ok() ? work() : status, done);
    });
  }

  // Waits until this turn is in that seat of all.
  absl::Status Await(tf::OpKernelContext* context, size_t seat, uint32_t turn) {
    for (size_t i = 0; i < size(); ++i) TF_RETURN_IF_ERROR(Sleep(context, &At(i, seat).head()->turn, turn, i));
    return absl::OkStatus();
  }

  static void Finish(tf::OpKernelContext* context, const absl::Status& status, const DoneCallback& done) {
    if (!status.ok()) context->CtxFailure(status);
    done();
  }

 private:
  absl::Status Sleep(tf::OpKernelContext* context, std::atomic<uint32_t>* word, uint32_t turn, size_t process) const {
    const auto end = std::chrono::steady_clock::now() + kLimit;
    while (!Appears(*word, turn, kLook)) {
      const uint32_t before = word->load(std::memory_order_acquire);
      const timespec nap{0, kNap};
      if (before != turn) syscall(SYS_futex, word, FUTEX_WAIT, before, &nap, nullptr, 0);
      if (word->load(std::memory_order_acquire) == turn) break;
      const bool cancelled = context->cancellation_manager() != nullptr && context->cancellation_manager()->IsCancelled();
      if (cancelled) return absl::CancelledError("the exchange was cancelled");
      const bool gone = kill(processes_[process], 0) != 0 && errno == ESRCH;
      if (word->load(std::memory_order_acquire) == turn) break;  // it came, and then went
      if (gone || std::chrono::steady_clock::now() > end) {
        return absl::FailedPreconditionError(absl::StrCat("tfscale: another process of the job (", processes_[process], ") ",
                                                   gone ? "is gone" : "has not come for an hour"));
      }
    }
    return absl::OkStatus();
  }

  std::vector<int> processes_;
  int own_;
  std::vector<Seat> seats_;  // of the first process, of the second, ...
  tf::thread::ThreadPool waiter_;  // last: it ends before what it uses does
};

// R messages of this process -> those of all W replicas, by rank.
class ShareMessages : public Share {
 public:
  explicit ShareMessages(tf::OpKernelConstruction* context) : Share(context) {
    OP_REQUIRES_OK(context, context->GetAttr("held", &held_));
  }

  void ComputeAsync(tf::OpKernelContext* context, DoneCallback done) override {
    int64_t total = held_[own()];
    for (int i = 0; i < held_[own()]; ++i) total += context->input(i).NumElements();
    const uint32_t turn = Begin();
    Seat& seat = At(own(), turn % kSeats);
    OP_REQUIRES_OK_ASYNC(context, seat.Make(total), done);
    uint32_t* out = seat.words();
    for (int i = 0; i < held_[own()]; ++i) {
      const int64_t length = context->input(i).NumElements();
      *out++ = static_cast<uint32_t>(length);
      std::memcpy(out, context->input(i).flat<int32_t>().data(), length * sizeof(uint32_t));
      out += length;
    }
    seat.head()->words = total;
    Announce(&seat.head()->turn, turn);
    Then(context, turn % kSeats, turn, std::move(done), [this, context, turn] { return Read(context, turn % kSeats); });
  }

 private:
  absl::Status Read(tf::OpKernelContext* context, size_t place) {
    int rank = 0;
    for (size_t i = 0; i < size(); ++i) {
      Seat& seat = At(i, place);
      const int64_t total = seat.head()->words;
      TF_RETURN_IF_ERROR(seat.See(total));
      const uint32_t* in = seat.words();
      const uint32_t* end = in + total;
      for (int j = 0; j < held_[i]; ++j, ++rank) {
        if (in >= end || end - in <= static_cast<int64_t>(*in)) {
          return absl::DataLossError(absl::StrCat("tfscale: the message of rank ", rank, " is damaged: its length is wrong"));
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

  std::vector<int> held_;
};

// A vector [D] of each process -> their sum over W, added by process: each adds a share of it for all.
class ShareMean : public Share {
 public:
  explicit ShareMean(tf::OpKernelConstruction* context) : Share(context) {
    OP_REQUIRES_OK(context, context->GetAttr("replicas", &replicas_));
  }

  void ComputeAsync(tf::OpKernelContext* context, DoneCallback done) override {
    const int64_t length = context->input(0).NumElements();
    const uint32_t turn = Begin();
    Seat& seat = At(own(), kGiven);
    OP_REQUIRES_OK_ASYNC(context, seat.Make(length), done);
    OP_REQUIRES_OK_ASYNC(context, At(own(), kShare).Make(length / size() + 1), done);
    Copy(context, context->input(0).flat<float>().data(), reinterpret_cast<float*>(seat.words()), length);
    seat.head()->words = length;
    Announce(&seat.head()->turn, turn);
    Then(context, kGiven, turn, std::move(done), [this, context, turn, length] { return Add(context, turn, length); });
  }

 private:
  static constexpr size_t kGiven = 0, kShare = 1;  // what is in which seat

  static void Copy(tf::OpKernelContext* context, const float* from, float* to, int64_t length) {
    Parallel(context, length, 1, [&](int64_t begin, int64_t end) {
      std::memcpy(to + begin, from + begin, (end - begin) * sizeof(float));
    });
  }

  int64_t Start(size_t process, int64_t length) const { return length * process / size(); }

  absl::Status Add(tf::OpKernelContext* context, uint32_t turn, int64_t length) {
    std::vector<const float*> given;
    for (size_t i = 0; i < size(); ++i) {
      Seat& seat = At(i, kGiven);
      if (static_cast<int64_t>(seat.head()->words) != length) {
        return absl::InvalidArgumentError("processes came to a mean with vectors of different lengths");
      }
      TF_RETURN_IF_ERROR(seat.See(length));
      given.push_back(reinterpret_cast<const float*>(seat.words()));
    }
    const int64_t start = Start(own(), length);
    float* share = reinterpret_cast<float*>(At(own(), kShare).words());
    Parallel(context, Start(own() + 1, length) - start, size(), [&](int64_t begin, int64_t end) {
      AddShare(given, start, begin, end, static_cast<float>(replicas_), share);
    });
    Announce(&At(own(), kShare).head()->turn, turn);
    tf::Tensor* mean;
    TF_RETURN_IF_ERROR(context->allocate_output(0, context->input(0).shape(), &mean));
    TF_RETURN_IF_ERROR(Await(context, kShare, turn));
    for (size_t i = 0; i < size(); ++i) {
      TF_RETURN_IF_ERROR(At(i, kShare).See(length / size() + 1));
      const int64_t from = Start(i, length);
      Copy(context, reinterpret_cast<const float*>(At(i, kShare).words()), mean->flat<float>().data() + from,
           Start(i + 1, length) - from);
    }
    return absl::OkStatus();
  }

  TFSCALE_CLONES static void AddShare(const std::vector<const float*>& given, int64_t start, int64_t begin, int64_t end,
                                      float replicas, float* share) {
    constexpr int64_t kPiece = 4096;  // stays in the cache while all vectors are added to it
    for (int64_t at = begin; at < end; at += kPiece) {
      const int64_t length = std::min(kPiece, end - at);
      float* __restrict__ out = share + at;
      std::memcpy(out, given[0] + start + at, length * sizeof(float));
      for (size_t i = 1; i < given.size(); ++i) {
        const float* __restrict__ in = given[i] + start + at;
        for (int64_t j = 0; j < length; ++j) out[j] += in[j];
      }
      for (int64_t j = 0; j < length; ++j) out[j] /= replicas;
    }
  }

  int replicas_;
};

}  // namespace tfscale

#endif  // TFSCALE_KERNELS_SHARED_MEMORY_H_
