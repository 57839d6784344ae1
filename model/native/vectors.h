// What tokens (tokens.cpp) and pixels (pixels.cpp) are computed with, for x86 with AVX2, FMA and F16C; where it is
// compiled for AVX-512, products are made sixteen at a time. The three files are compiled as one (build.py).
//
// The compiler must neither contract nor reorder (-ffp-contract=off, no -ffast-math): every number is one chain of
// operations, the same bits on any processor and whatever is computed beside it.

#include <immintrin.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <system_error>
#include <thread>
#include <type_traits>
#include <vector>

using half = uint16_t;
using vec = __m256;  // eight floats
constexpr int64_t W = 8;
#define UNROLL _Pragma("GCC unroll 16")  // keeps accumulators in registers; without it the compiler spills them

static inline vec load(const float* p) { return _mm256_loadu_ps(p); }
static inline void store(float* p, vec v) { _mm256_storeu_ps(p, v); }
static inline vec all(float x) { return _mm256_set1_ps(x); }
static inline vec fma(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }

static inline float sum(vec v) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

// e^x to 2 ulp for x <= 88; 0 below -87. Source: Cephes expf.
static inline vec exponential(vec x) {
    const vec counts = _mm256_cmp_ps(x, all(-87.0f), _CMP_GT_OQ);
    x = _mm256_max_ps(_mm256_min_ps(x, all(88.0f)), all(-87.0f));
    vec n = _mm256_round_ps(x * all(1.44269504f), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    vec r = fma(n, all(2.12194440e-4f), fma(n, all(-0.693359375f), x));
    vec p = all(1.9875691500e-4f);
    for (float c : {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f})
        p = fma(p, r, all(c));
    p = fma(p, r * r, r + all(1.0f));
    __m256i power = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
    return _mm256_and_ps(p * _mm256_castsi256_ps(power), counts);
}

// x / 2 (1 + erf(x / sqrt 2)), erf to 1.5e-7. Source: Abramowitz and Stegun, 7.1.26.
static inline vec gelu(vec x) {
    vec z = _mm256_andnot_ps(all(-0.0f), x) * all(0.70710678f);
    vec t = all(1.0f) / fma(z, all(0.3275911f), all(1.0f));
    vec p = all(1.061405429f);
    for (float c : {-1.453152027f, 1.421413741f, -0.284496736f, 0.254829592f}) p = fma(p, t, all(c));
    vec erf = all(1.0f) - p * t * exponential(all(0.0f) - z * z);
    return all(0.5f) * (x + _mm256_andnot_ps(all(-0.0f), x) * erf);
}

// What products are computed with: eight numbers at once or, where the compiler may, sixteen. That changes no bit: every
// number is a chain of its own.
struct Eight {
    using Vec = __m256;
    static constexpr int64_t count = 8;
    static Vec load(const float* p) { return _mm256_loadu_ps(p); }
    static Vec all(const float* p) { return _mm256_broadcast_ss(p); }
    static Vec widen(const half* p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p)); }
    static Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
    static void store(float* p, Vec v) { _mm256_storeu_ps(p, v); }
};
#ifdef __AVX512F__
struct Sixteen {
    using Vec = __m512;
    static constexpr int64_t count = 16;
    static Vec load(const float* p) { return _mm512_loadu_ps(p); }
    static Vec all(const float* p) { return _mm512_set1_ps(*p); }
    static Vec widen(const half* p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p)); }
    static Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
    static void store(float* p, Vec v) { _mm512_storeu_ps(p, v); }
};
using Widest = Sixteen;
#else
using Widest = Eight;
#endif

template <int N>
constexpr std::integral_constant<int, N> number{};

// Calls with as many vectors as there are, C at most, as a constant.
template <int C, class Call>
static inline void at_most(int64_t vectors, Call call) {
    if constexpr (C > 1)
        if (vectors < C) return at_most<C - 1>(vectors, call);
    call(std::integral_constant<int, C>());
}

// LayerNorm without bias: out = (x - mean) / sqrt(variance + 1e-5) * gain, n a multiple of 8. May be in place.
static void normalize(const float* x, const float* gain, int64_t n, float* out) {
    vec total = _mm256_setzero_ps(), squares = _mm256_setzero_ps();
    for (int64_t i = 0; i < n; i += W) total = total + load(x + i);
    const vec mean = all(sum(total) / n);
    for (int64_t i = 0; i < n; i += W) {
        vec centred = load(x + i) - mean;
        squares = fma(centred, centred, squares);
    }
    const vec scale = all(1.0f / std::sqrt(sum(squares) / n + 1e-5f));
    for (int64_t i = 0; i < n; i += W) store(out + i, (load(x + i) - mean) * scale * load(gain + i));
}
