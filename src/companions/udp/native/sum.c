#include "bytes.h"

typedef uint64_t lanes_t __attribute__((vector_size(32)));
typedef lanes_t unaligned_t __attribute__((aligned(1), may_alias));

// Both halves of each lane, in several sums that the processor adds at once.
#define SUM                                                                                       \
    const lanes_t low = {UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX};                         \
    lanes_t sums[4] = {{0}};                                                                      \
    for (; size >= 64; bytes += 64, size -= 64) {                                                 \
        lanes_t a = *(const unaligned_t *)bytes, b = *(const unaligned_t *)(bytes + sizeof(a));   \
        sums[0] += a & low;                                                                       \
        sums[1] += a >> 32;                                                                       \
        sums[2] += b & low;                                                                       \
        sums[3] += b >> 32;                                                                       \
    }                                                                                             \
    lanes_t all = sums[0] + sums[1] + sums[2] + sums[3];                                          \
    return all[0] + all[1] + all[2] + all[3] + sum_of(bytes, size);

static uint64_t sum_plain(const uint8_t *bytes, size_t size) { SUM }

#ifdef __x86_64__
__attribute__((target("avx2"))) static uint64_t sum_avx2(const uint8_t *bytes, size_t size) { SUM }
#endif

uint64_t sum_of_many(const uint8_t *bytes, size_t size) {
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx2")) return sum_avx2(bytes, size);
#endif
    return sum_plain(bytes, size);
}
