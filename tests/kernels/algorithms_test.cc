// Checks the algorithms of the kernels without TensorFlow: plain C++17, run by test_algorithms.py.
//
// Prints one line a check; the exit code is the number of checks that fail.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "accumulate.h"
#include "decode.h"
#include "digest.h"
#include "encode.h"
#include "bundle.h"
#include "merge.h"
#include "restore.h"
#if defined(__linux__)
#include "shared_memory.h"
#endif

namespace tfscale {
namespace {

constexpr unsigned kAllCodes = 1U << kWord32 | 1U << kBitmap | 1U << kRice;
const HeaderFields kHeaderFields{7, 0x3f000000U, 5, 130};

int failures = 0;

void Check(const char* sentence, bool holds) {
  std::printf("%s %s\n", holds ? "ok  " : "FAIL", sentence);
  failures += !holds;
}

std::vector<Word> Written(const Encoder& encoder) {
  std::vector<Word> message(encoder.Length());
  encoder.Write(SerialFor, kHeaderFields, message.data());
  return message;
}

MessageView View(const std::vector<Word>& message) { return {message.data(), static_cast<int64_t>(message.size())}; }

// Elements of a vector of `size`, each sent with a probability of `density`, either sign.
std::vector<Element> Elements(int64_t size, double density, unsigned seed) {
  std::mt19937 random(seed);
  std::bernoulli_distribution sends(density), negative(0.5);
  std::vector<Element> elements;
  for (int64_t i = 0; i < size; ++i) {
    if (sends(random)) elements.push_back(static_cast<Element>(i << 1 | (negative(random) ? 1 : 0)));
  }
  return elements;
}

// A decoder's answer to messages of the step and threshold of kHeaderFields.
std::string FaultOf(Decoder* decoder, const std::vector<MessageView>& messages, int64_t proposals = 0) {
  return decoder->Read(SerialFor, messages, kHeaderFields.step, kHeaderFields.threshold, proposals).what;
}

bool DecodesWhatWasEncoded(unsigned allowed, int64_t size, double density) {
  const std::vector<Element> elements = Elements(size, density, 1);
  const auto count = static_cast<int64_t>(elements.size());
  const PayloadPlan plan = PlanPayload(SerialFor, allowed, elements.data(), count, size, 1);
  std::vector<Word> payload(plan.length + 2);
  EncodePayload(SerialFor, plan, elements.data(), count, size, 1, payload.data());
  std::vector<Element> decoded(count + kSpareElements);
  const std::string wrong = DecodePayload(plan.format, payload.data(), plan.length, count, size, 1, decoded.data());
  decoded.resize(count);
  return wrong.empty() && decoded == elements;
}

void CheckCodes() {
  bool exact = true;
  for (const Format format : {kWord32, kBitmap, kRice}) {
    for (const double density : {0.0, 1e-4, 0.01, 0.1, 0.3, 1.0}) {
      for (const int64_t size : {int64_t{1}, int64_t{4096}, int64_t{100'001}}) {
        exact = exact && DecodesWhatWasEncoded(1U << format, size, density);
      }
    }
  }
  Check("every code decodes what it has encoded", exact);
  const std::vector<Element> few = Elements(100'000, 1e-3, 2), all = Elements(100'000, 1.0, 2);
  const auto format = [](const std::vector<Element>& elements) {
    return PlanPayload(SerialFor, kAllCodes, elements.data(), static_cast<int64_t>(elements.size()), 100'000, 1).format;
  };
  Check("few elements are written in rice, all in a bitmap", format(few) == kRice && format(all) == kBitmap);
  Check("no elements are written in word32, the first of equally short codes", format({}) == kWord32);
}

void CheckAccumulate() {
  const Layout layout({4, 2}, {false, true});
  Accumulator accumulator(layout, kNone, 0, 1, false);
  std::vector<float> residual(6), peaks(2), dense_values(2);
  const std::vector<float> contribution{0.75f, -0.25f, -2.0f, 0.5f, 1.5f, -3.0f};
  const float half = 0.5f;
  const bool usable = accumulator.Run(SerialFor, residual.data(), nullptr, contribution.data(), {&half, 1},
                                      peaks.data(), dense_values.data());
  std::vector<Element> sent(accumulator.Count());
  accumulator.CopyElements(sent.data());
  Check("what reaches the threshold is sent, and the residual keeps the rest",
        usable && sent == std::vector<Element>{0 << 1, 2 << 1 | 1, 3 << 1} &&
            residual == std::vector<float>{0.25f, -0.25f, -1.5f, 0, 0, 0});
  Check("a dense tensor has no residual and no peak", dense_values == std::vector<float>{1.5f, -3.0f} &&
                                                          peaks == std::vector<float>{2.0f, 0.0f});
  const std::vector<float> before = residual;
  const std::vector<float> poisoned{1.0f, NAN, 1.0f, 0, 0, 0};
  const bool still = accumulator.Run(SerialFor, residual.data(), nullptr, poisoned.data(), {&half, 1}, peaks.data(),
                                     dense_values.data());
  Check("an element that is not usable keeps its residual, and then nothing is sent",
        !still && accumulator.Count() == 0 && residual[0] == before[0] + 1 && residual[1] == before[1]);
  std::vector<float> vector(1000, 1.0f);
  const bool all = AllUsable(vector.data(), 1000);
  vector[999] = -9.3e18f;
  Check("a vector is usable if all magnitudes are below 2^63", all && !AllUsable(vector.data(), 1000));
}

void CheckDecode() {
  const Layout layout({5, 2}, {false, true});
  const std::vector<Element> one{0 << 1, 3 << 1 | 1}, other{0 << 1};
  const std::vector<float> dense_values{1.0f, 2.0f}, proposal{0.25f, 0.0f};
  const FloatView dense{dense_values.data(), 2};
  const auto first = Written(Encoder::Sparse(SerialFor, kAllCodes, one.data(), 2, layout.size, 1, dense));
  const auto second = Written(Encoder::Sparse(SerialFor, kAllCodes, other.data(), 1, layout.size, 1, dense));
  Decoder decoder(layout, 0.5f, 1);
  std::vector<float> sum(7, -1.0f);
  std::vector<int64_t> counts(2);
  const float threshold = 0.5f;
  const bool good = FaultOf(&decoder, {View(first), View(second)}).empty();
  decoder.Sum(SerialFor, {&threshold, 1}, sum.data(), counts.data());
  Check("the sum of two messages is scaled, dense values included",
        good && !decoder.skip() && sum == std::vector<float>{0.5f, 0, 0, -0.25f, 0, 1.0f, 2.0f} &&
            counts == std::vector<int64_t>{3, 0} && decoder.residual_ratio() == kHeaderFields.residual_ratio);
  const auto skips = Written(Encoder::Skip());
  Check("one skip message skips the step", FaultOf(&decoder, {View(first), View(skips)}).empty() && decoder.skip());
  const auto proposes = Written(Encoder::Proposal({proposal.data(), 2}, dense));
  std::vector<float> mean(2);
  const bool proposed = FaultOf(&decoder, {View(proposes), View(proposes)}, 2).empty();
  decoder.MeanProposal(mean.data(), 2);
  Check("a tensor without a proposal takes the largest of the others",
        proposed && mean == std::vector<float>{0.25f, 0.25f});
  Check("a proposal among sparse messages is refused", !FaultOf(&decoder, {View(first), View(proposes)}).empty());
  bool seen = true;
  for (size_t word = 0; word < first.size(); ++word) {
    for (int bit = 0; bit < 32; ++bit) {
      auto damaged = first;
      damaged[word] ^= 1U << bit;
      seen = seen && !FaultOf(&decoder, {View(first), View(damaged)}).empty();
    }
  }
  Check("no flipped bit of a message goes unseen", seen);
  Check("a message that is cut off is refused", !FaultOf(&decoder, {{first.data(), 3}, View(first)}).empty());
}

void CheckMerge() {
  const Layout layout({5, 4, 2}, {false, false, true});
  const std::vector<Element> one{0 << 1, 3 << 1 | 1, 7 << 1, 8 << 1}, other{0 << 1, 6 << 1 | 1, 7 << 1 | 1};
  const std::vector<float> dense_values{1.0f, 2.0f};
  const FloatView dense{dense_values.data(), 2};
  const auto bundle = [&](const std::vector<Element>& elements) {
    const auto encoder = BundleEncoder::Sparse(SerialFor, kAllCodes, elements.data(), elements.size(), layout.size, 1,
                                               dense, 2);
    std::vector<Word> words(encoder.Length());
    encoder.Write(SerialFor, kHeaderFields, words.data());
    return words;
  };
  const auto first = bundle(one), second = bundle(other);
  std::vector<MessageView> from_first, from_second;
  const bool opened = Unpack(View(first), 2, &from_first) < 0 && Unpack(View(second), 2, &from_second) < 0;
  Merger low(layout, 1, 2, 0), high(layout, 1, 2, 1);
  const auto read = [](Merger* merger, const MessageView& a, const MessageView& b) {
    return merger->Read(SerialFor, {a, b}, kHeaderFields.step, kHeaderFields.threshold, 0).what;
  };
  const bool good = read(&low, from_first[0], from_second[0]).empty() && read(&high, from_first[1], from_second[1]).empty();
  std::vector<int64_t> counts(3), others(3);
  low.CountSent(counts.data());
  high.CountSent(others.data());
  Check("a merged list has each element as often as its sign prevails",
        opened && good && low.elements() == std::vector<Element>{0 << 1, 0 << 1, 3 << 1 | 1} &&
            high.elements() == std::vector<Element>{6 << 1 | 1, 8 << 1});
  Check("what was sent is counted, though it cancels out",
        counts == std::vector<int64_t>{3, 0, 0} && others == std::vector<int64_t>{0, 4, 0});
  Check("elements of another part are refused", !read(&low, from_first[0], from_first[1]).empty());
  std::vector<MessageView> none;
  Check("a bundle that is cut off is refused",
        Unpack({first.data(), static_cast<int64_t>(first.size()) - 1}, 2, &none) >= 0 &&
            Unpack({first.data(), 1}, 2, &none) >= 0);
}

void CheckRestore() {
  const Layout layout({3, 4}, {false, false});
  Accumulator accumulator(layout, kNone, 0, 1, false);
  const std::vector<float> contribution{1.0f, -2.0f, 0.25f, 3.0f, -0.75f, 0.5f, 0};
  const std::vector<float> limits{0.5f, 0.75f};
  std::vector<float> residual(7), peaks(2);
  accumulator.Run(SerialFor, residual.data(), nullptr, contribution.data(), {limits.data(), 2}, peaks.data(), nullptr);
  std::vector<Element> sent(accumulator.Count());
  accumulator.CopyElements(sent.data());
  const auto message =
      Written(Encoder::Sparse(SerialFor, kAllCodes, sent.data(), accumulator.Count(), 7, 1, {nullptr, 0}));
  const bool took = residual != contribution;
  const std::string wrong = Restore(layout, View(message), {limits.data(), 2}, 1, residual.data());
  Check("a skipped step gives back what was taken", took && wrong.empty() && residual == contribution);
}

void CheckDigest() {
  std::vector<uint32_t> words(1000);
  for (size_t i = 0; i < words.size(); ++i) words[i] = static_cast<uint32_t>(i * i);
  const uint64_t whole = SumWords(words.data(), 1000, 0);
  Check("digests of parts add up", whole == SumWords(words.data(), 333, 0) + SumWords(words.data() + 333, 667, 333));
  Check("lanes and pairs of vectors give the same digest", whole == SumLanes(words.data(), 1000, 0));
  std::swap(words[3], words[4]);
  Check("a digest depends on the order", FoldDigest(whole) != FoldDigest(SumWords(words.data(), 1000, 0)));
}

#if defined(__linux__)
void CheckSharedMemory() {
  const int descriptor = static_cast<int>(syscall(SYS_memfd_create, "tfscale", 0));
  Segment own(descriptor), other(descriptor);
  const bool made = own.Grow(10'000).empty() && other.View(10'000).empty();
  own.words()[9'999] = 42;
  Check("a segment that has grown is seen by those who read it", made && other.words()[9'999] == 42);
  Publish(&own.header()->turn, 3);
  const auto never = [] { return false; };
  Check("a turn that was published is there", Await(&other.header()->turn, 3, getpid(), never).empty());
  Check("a wait ends when the exchange is cancelled",
        Await(&other.header()->turn, 4, getpid(), [] { return true; }).find("cancelled") != std::string::npos);
  const std::vector<float> one{1, 2, 3, 4}, two{3, 4, 5, 6};
  std::vector<float> share(2);
  MeanOfVectors({one.data(), two.data()}, 1, 0, 2, 4.0f, share.data());
  Check("a share of a mean begins where it should", share == std::vector<float>{1.5f, 2.0f});
  close(descriptor);
}
#endif

}  // namespace
}  // namespace tfscale

int main() {
  tfscale::CheckCodes();
  tfscale::CheckAccumulate();
  tfscale::CheckDecode();
  tfscale::CheckMerge();
  tfscale::CheckRestore();
  tfscale::CheckDigest();
#if defined(__linux__)
  tfscale::CheckSharedMemory();
#endif
  return tfscale::failures;
}
