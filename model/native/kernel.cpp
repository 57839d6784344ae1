// All tokens of a batch of patches and their states in one call, for x86 with AVX2, FMA and F16C.
//
// Arithmetic is in 32 bits; weights, keys and values are stored in 16. Every number is one chain of operations whose
// order depends on the row alone, never on how many rows there are: rows are bit-identical whatever is decoded beside
// them, and a known token leaves the same states as one that was drawn. For the same reason the compiler must neither
// contract nor reorder (-ffp-contract=off, no -ffast-math).
//
// A matrix [K, N] is kept as N / 8 panels [K][8], so that a product reads memory once, from front to back. Weights,
// keys (K = head size, N = keys) and values (K = keys, N = head size) all have this form, and one product serves all.

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

using half = uint16_t;
using vec = __m256;  // eight floats
constexpr int64_t W = 8;
#define UNROLL _Pragma("GCC unroll 8")  // keeps accumulators in registers; without it the compiler spills them

// What step.py hands over; the same fields in the same order. R rows, n slots, S words and nearby tokens, M tokens a
// patch.
struct Batch {
    int64_t rows, slots, width, depth, heads, vocabulary, steps;
    int64_t context_rows, context;      // C and S, of which `seen` says which a row looks at
    int64_t capacity;                   // tokens that `keys` and `values` have room for: S + M + 1, in whole panels
    const half *qkv, *out, *up, *down;  // panels of all layers, one after another
    const half* head;
    const float *norm1, *q_norm, *k_norm, *norm2, *norm;  // gains
    const float *begin, *table;                           // [D], [V, D]
    const int64_t* source;                                // [R]: which of the rows C below is this one's
    const float *context_keys, *context_values;           // [L, C, H, S, d]
    const uint8_t* seen;                                  // [C, S]
    const float* conditions;                              // [C, M + 1, D]
    const float *cos_target, *sin_target, *cos_own, *sin_own;  // [C, M + 1, d / 2]
    const int64_t *slot_of, *conditional, *unconditional;      // [R], [n], [n]: row, or -1 without guidance
    const float* scale;                                        // [n]
    const double *temperature, *top_k, *top_p;                 // [n]
    const double* noise;                                       // [n, M]
    half *keys, *values;                                       // room for R * L * H * capacity * d each
    const int64_t* known;                                      // [n, M], -1 where a token is to be drawn
    int64_t* drawn;                                            // [n, M], the result
    half *own_keys, *own_values;                               // [L, C, H, M, d], the states of those tokens
    float* trace;                                              // [n, M, V] guided logits where drawn, or null
};

static inline vec load(const float* p) { return _mm256_loadu_ps(p); }
static inline void store(float* p, vec v) { _mm256_storeu_ps(p, v); }
static inline vec all(float x) { return _mm256_set1_ps(x); }
static inline vec widen(const half* p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p)); }
static inline vec fma(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }
static inline void narrow(const float* from, half* to) {
    _mm_storeu_si128((__m128i*)to, _mm256_cvtps_ph(load(from), _MM_FROUND_TO_NEAREST_INT));
}

static inline float sum(vec v) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

// e^x to 2 ulp for x <= 88; 0 in effect below -87. Source: Cephes expf.
static inline vec exponential(vec x) {
    x = _mm256_max_ps(_mm256_min_ps(x, all(88.0f)), all(-87.0f));
    vec n = _mm256_round_ps(x * all(1.44269504f), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    vec r = fma(n, all(2.12194440e-4f), fma(n, all(-0.693359375f), x));
    vec p = all(1.9875691500e-4f);
    for (float c : {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f})
        p = fma(p, r, all(c));
    p = fma(p, r * r, r + all(1.0f));
    __m256i power = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
    return p * _mm256_castsi256_ps(power);
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

// out [R, 8 C] = (add ? out : 0) + x [R, K] * C panels; one chain of additions over K for every number.
template <int R, int C>
static void tile(const float* x, int64_t ldx, const half* w, int64_t panel, int64_t K, float* out, int64_t ldo,
                 bool add) {
    vec acc[R][C];
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int c = 0; c < C; c++) acc[r][c] = add ? load(out + r * ldo + c * W) : _mm256_setzero_ps();
    for (int64_t k = 0; k < K; k++) {
        // Whichever are fewer, numbers of x or weights, wait in registers for the others.
        if constexpr (R <= C) {
            vec a[R];
            UNROLL for (int r = 0; r < R; r++) a[r] = _mm256_broadcast_ss(x + r * ldx + k);
            UNROLL for (int c = 0; c < C; c++) {
                vec b = widen(w + c * panel + k * W);
                UNROLL for (int r = 0; r < R; r++) acc[r][c] = fma(a[r], b, acc[r][c]);
            }
        } else {
            vec b[C];
            UNROLL for (int c = 0; c < C; c++) b[c] = widen(w + c * panel + k * W);
            UNROLL for (int r = 0; r < R; r++) {
                vec a = _mm256_broadcast_ss(x + r * ldx + k);
                UNROLL for (int c = 0; c < C; c++) acc[r][c] = fma(a, b[c], acc[r][c]);
            }
        }
    }
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int c = 0; c < C; c++) store(out + r * ldo + c * W, acc[r][c]);
}

// The same for 1 to C panels, as many as are left.
template <int R, int C>
static void tiles(const float* x, int64_t ldx, const half* w, int64_t panel, int64_t K, int64_t panels, float* out,
                  int64_t ldo, bool add) {
    if constexpr (C > 1)
        if (panels < C) return tiles<R, C - 1>(x, ldx, w, panel, K, panels, out, ldo, add);
    tile<R, C>(x, ldx, w, panel, K, out, ldo, add);
}

// out [rows, 8 panels] = (add ? out : 0) + x [rows, K] * w. panel: numbers from one panel to the next.
static void multiply(const float* x, int64_t ldx, int64_t rows, const half* w, int64_t panel, int64_t K,
                     int64_t panels, float* out, int64_t ldo, bool add = false) {
    const int64_t blocks = (rows + 5) / 6, least = rows / blocks, longer = rows % blocks;  // of 4 to 6 rows, if any
    const int64_t C = rows == 1 ? 8 : rows <= 3 ? 4 : 2;  // enough chains to hide the latency of an addition
    for (int64_t p = 0; p < panels; p += C) {
        const int64_t n = std::min(C, panels - p);
        int64_t r = 0;
        for (int64_t block = 0; block < blocks; block++) {
            const int64_t height = least + (block < longer);
            auto run = [&](auto kernel) {
                kernel(x + r * ldx, ldx, w + p * panel, panel, K, n, out + r * ldo + p * W, ldo, add);
            };
            switch (height) {
                case 1: run(tiles<1, 8>); break;
                case 2: run(tiles<2, 4>); break;
                case 3: C == 4 ? run(tiles<3, 4>) : run(tiles<3, 2>); break;
                case 4: run(tiles<4, 2>); break;
                case 5: run(tiles<5, 2>); break;
                default: run(tiles<6, 2>); break;
            }
            r += height;
        }
    }
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

static void rotate(float* x, const float* cos, const float* sin, int64_t pairs) {
    for (int64_t i = 0; i < pairs; i++) {
        const float a = x[i], b = x[i + pairs];
        x[i] = a * cos[i] - b * sin[i];
        x[i + pairs] = a * sin[i] + b * cos[i];
    }
}

// Puts key and value number j of one head into their panels.
static void remember(const float* k, const float* v, int64_t j, int64_t dim, int64_t capacity, half* keys,
                     half* values) {
    for (int64_t i = 0; i < dim; i += W) {
        half part[W];
        narrow(k + i, part);
        for (int64_t c = 0; c < W; c++) keys[(j / W * dim + i + c) * W + j % W] = part[c];
        narrow(v + i, values + (i / W * capacity + j) * W);
    }
}

// mixed [d] = softmax(q . keys) values over the first `seen` tokens. scores: room for seen in whole panels.
static void attend(const float* q, const half* keys, const half* values, int64_t seen, int64_t dim, int64_t capacity,
                   float* scores, float* mixed) {
    const int64_t panels = (seen + W - 1) / W;
    multiply(q, dim, 1, keys, dim * W, dim, panels, scores, panels * W);
    std::fill(scores + seen, scores + panels * W, -1e30f);  // the rest of the last panel counts for nothing
    vec most = load(scores);
    for (int64_t j = W; j < panels * W; j += W) most = _mm256_max_ps(most, load(scores + j));
    float lanes[W], top = -1e30f;
    store(lanes, most);
    for (float lane : lanes) top = std::max(top, lane);
    vec total = _mm256_setzero_ps();
    for (int64_t j = 0; j < panels * W; j += W) {
        vec e = exponential(load(scores + j) - all(top));
        store(scores + j, e);
        total = total + e;
    }
    multiply(scores, seen, 1, values, capacity * W, seen, dim / W, mixed, dim);
    const vec share = all(1.0f / sum(total));
    for (int64_t i = 0; i < dim; i += W) store(mixed + i, load(mixed + i) * share);
}

// One token by inverse CDF, as sampling.draw: the likeliest `top_k` (0: all) that reach `top_p` together, likeliest
// first, equals by number. room: 2 V keys for sorting.
static int64_t draw(const float* logits, int64_t V, double temperature, double top_k, double top_p, double noise,
                    float* weights, uint64_t* room) {
    if (temperature == 0) return std::max_element(logits, logits + V) - logits;
    const float top = *std::max_element(logits, logits + V);
    for (int64_t i = 0; i < V; i += W)
        store(weights + i, exponential((load(logits + i) - all(top)) * all(float(1 / temperature))));
    double total = 0;
    uint32_t count[4][256] = {};
    uint64_t *order = room, *next = room + V;
    for (int64_t i = 0; i < V; i++) {
        uint32_t bits;
        const float positive_zero = logits[i] + 0.0f;
        std::memcpy(&bits, &positive_zero, 4);
        bits = bits >> 31 ? bits : ~bits & 0x7fffffffu;  // ascending where logits descend
        order[i] = uint64_t(bits) << 32 | uint64_t(i);
        for (int digit = 0; digit < 4; digit++) count[digit][bits >> 8 * digit & 255]++;
        total += weights[i];
    }
    for (int digit = 0; digit < 4; digit++) {  // radix sort: stable, and as fast for any distribution
        uint32_t place[256], before = 0;
        for (int b = 0; b < 256; b++) place[b] = before, before += count[digit][b];
        for (int64_t i = 0; i < V; i++) next[place[order[i] >> (32 + 8 * digit) & 255]++] = order[i];
        std::swap(order, next);
    }
    const int64_t most = top_k > 0 && top_k < V ? int64_t(top_k) : V;
    int64_t kept = 0;
    double mass = 0;
    do mass += weights[uint32_t(order[kept++])];
    while (kept < most && mass < top_p * total);
    int64_t choice = 0;
    for (double cdf = 0; choice < kept - 1; choice++)
        if ((cdf += weights[uint32_t(order[choice])]) > noise * mass) break;
    return uint32_t(order[choice]);
}

// The attention of row r in layer l, qkv [3, H, d] -> mixed [H, d]; its key and value are kept. length: of its context.
static void look(const Batch& b, int64_t l, int64_t r, int64_t step, int64_t length, float* qkv, float* scores,
                 float* mixed) {
    const int64_t H = b.heads, d = b.width / H, M = b.steps, row = b.source[r];
    const int64_t turn = (row * (M + 1) + step) * (d / 2);
    for (int64_t head = 0; head < H; head++) {
        float *q = qkv + head * d, *k = q + b.width, *v = k + b.width;
        const int64_t page = ((r * b.depth + l) * H + head) * b.capacity * d;
        normalize(q, b.q_norm + l * d, d, q);
        normalize(k, b.k_norm + l * d, d, k);
        rotate(q, b.cos_target + turn, b.sin_target + turn, d / 2);
        rotate(k, b.cos_own + turn, b.sin_own + turn, d / 2);
        remember(k, v, length + step, d, b.capacity, b.keys + page, b.values + page);
        for (int64_t i = 0; i < d && step; i += W) {  // the begin token's states are nobody else's business
            const int64_t own = (((l * b.context_rows + row) * H + head) * M + step - 1) * d + i;
            narrow(k + i, b.own_keys + own);
            narrow(v + i, b.own_values + own);
        }
        for (int64_t i = 0; i < d; i++) q[i] /= std::sqrt(float(d));
        attend(q, b.keys + page, b.values + page, length + step + 1, d, b.capacity, scores, mixed + head * d);
    }
}

extern "C" void decode(const Batch* batch) {
    const Batch& b = *batch;
    const int64_t R = b.rows, D = b.width, H = b.heads, d = D / H, V = b.vocabulary, M = b.steps, S = b.context;
    const int64_t padded = (V + W - 1) / W * W, page = b.capacity * d;  // page: numbers of one head's keys
    std::vector<float> x(R * D), h(R * D), qkv(R * 3 * D), mixed(R * D), wide(R * 4 * D), logits(R * padded);
    std::vector<float> scores(b.capacity), guided(padded), weights(padded);
    std::vector<uint64_t> room(2 * V);
    std::vector<int64_t> length(R);  // tokens that a row looks at so far

    for (int64_t r = 0; r < R; r++) {  // gathered once for all steps; what is absent is left out
        const uint8_t* seen = b.seen + b.source[r] * S;
        for (int64_t l = 0; l < b.depth; l++)
            for (int64_t head = 0; head < H; head++) {
                const int64_t from = ((l * b.context_rows + b.source[r]) * H + head) * S * d;
                const int64_t to = ((r * b.depth + l) * H + head) * page;
                length[r] = 0;
                for (int64_t j = 0; j < S; j++)
                    if (seen[j])
                        remember(b.context_keys + from + j * d, b.context_values + from + j * d, length[r]++, d,
                                 b.capacity, b.keys + to, b.values + to);
            }
    }

    for (int64_t step = 0; step <= M; step++) {  // the last draws nothing: it leaves the last token's states
        for (int64_t r = 0; r < R; r++) {
            const float* token = step ? b.table + b.drawn[b.slot_of[r] * M + step - 1] * D : b.begin;
            const float* told = b.conditions + (b.source[r] * (M + 1) + step) * D;
            for (int64_t i = 0; i < D; i++) x[r * D + i] = token[i] + told[i];
        }
        for (int64_t l = 0; l < b.depth; l++) {
            for (int64_t r = 0; r < R; r++) normalize(&x[r * D], b.norm1 + l * D, D, &h[r * D]);
            multiply(h.data(), D, R, b.qkv + l * D * 3 * D, D * W, D, 3 * D / W, qkv.data(), 3 * D);
            for (int64_t r = 0; r < R; r++)
                look(b, l, r, step, length[r], &qkv[r * 3 * D], scores.data(), &mixed[r * D]);
            multiply(mixed.data(), D, R, b.out + l * D * D, D * W, D, D / W, x.data(), D, true);
            for (int64_t r = 0; r < R; r++) normalize(&x[r * D], b.norm2 + l * D, D, &h[r * D]);
            multiply(h.data(), D, R, b.up + l * D * 4 * D, D * W, D, 4 * D / W, wide.data(), 4 * D);
            for (int64_t i = 0; i < R * 4 * D; i += W) store(&wide[i], gelu(load(&wide[i])));
            multiply(wide.data(), 4 * D, R, b.down + l * D * 4 * D, 4 * D * W, 4 * D, D / W, x.data(), D, true);
        }
        if (step == M) break;
        bool draws = false;
        for (int64_t s = 0; s < b.slots; s++) {
            b.drawn[s * M + step] = b.known[s * M + step];
            draws |= b.known[s * M + step] < 0;
        }
        if (!draws) continue;
        for (int64_t r = 0; r < R; r++) normalize(&x[r * D], b.norm, D, &h[r * D]);
        multiply(h.data(), D, R, b.head, D * W, D, padded / W, logits.data(), padded);
        for (int64_t s = 0; s < b.slots; s++) {
            if (b.drawn[s * M + step] >= 0) continue;
            const float* with = &logits[b.conditional[s] * padded];
            const float* without = b.unconditional[s] < 0 ? with : &logits[b.unconditional[s] * padded];
            for (int64_t i = 0; i < V; i++) guided[i] = without[i] + b.scale[s] * (with[i] - without[i]);
            if (b.trace) std::copy_n(guided.data(), V, b.trace + (s * M + step) * V);
            b.drawn[s * M + step] = draw(guided.data(), V, b.temperature[s], b.top_k[s], b.top_p[s],
                                         b.noise[s * M + step], weights.data(), room.data());
        }
    }
}
