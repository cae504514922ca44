// Compiler attributes and processor features for the hot loops.
#ifndef TFSCALE_KERNELS_PLATFORM_H_
#define TFSCALE_KERNELS_PLATFORM_H_

#if defined(__x86_64__)
#include <immintrin.h>
#endif

// Compiles a function for several generations of processors; the loader takes the best one.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12
#define TFSCALE_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#elif defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define TFSCALE_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define TFSCALE_CLONES
#endif

#define TFSCALE_INLINE inline __attribute__((always_inline))

namespace tfscale {

#if defined(__x86_64__)
inline bool HasAvx512() {
  static const bool has = __builtin_cpu_supports("avx512f");
  return has;
}
#endif

}  // namespace tfscale

#endif  // TFSCALE_KERNELS_PLATFORM_H_
