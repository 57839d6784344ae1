// All tokens of a batch of patches and their states in one call.
//
// Arithmetic is in 32 bits; weights, keys and values are stored in 16. The order of a number's operations depends on its
// row and position alone, never on how many rows there are or how many positions are computed at once: rows are
// bit-identical whatever is decoded beside them, and known tokens, which take one pass, leave the same states as tokens
// that were drawn one by one.
//
// What a row looks at is never copied together: it reads words, then the pool's pages of nearby patches, then its own
// page, where they are. A page's keys are turned to its patch's offset by turning the query the other way.

constexpr int64_t MOST_HEADS = 128;
constexpr int64_t STREAMS = 3;  // heads that are read side by side
constexpr int64_t P = Widest::count;  // columns in a panel of weights
constexpr bool WIDE = P == 16;
constexpr int64_t AHEAD = 2048;  // bytes between what is read and what is fetched meanwhile
constexpr int64_t ALOFT = 18 << 10;  // the same of all streams together, where the first cache has room for them
constexpr int64_t FORESEEN = 1 << 17;  // of a patch's keys: up to so many bytes the next patch's are fetched meanwhile
// Processors without AVX-512 fetch into the second cache: their first can wait for few lines at a time, and then all
// else waits for it.
static inline void fetch(const void* at) { _mm_prefetch((const char*)at, WIDE ? _MM_HINT_T0 : _MM_HINT_T1); }

// What step.py hands over; the same fields in the same order. L layers, H heads of size d, D = H d, M tokens a patch.
//
// Keys of n tokens are [H, d, n] and values [H, n, d], n a multiple of 8.

struct Row {  // a patch with its prompt, or with none
    const float* conditions;                                   // [M + 1, D]
    const float *cos_target, *sin_target, *cos_own, *sin_own;  // [M + 1, d / 2]
    const half* words;                                         // [L] keys, then values, of F tokens
    half* front;                                               // room for the same, and the begin token after the words
    int64_t room, seen;                                        // F, and how many of them are words
    int64_t page, nearby;                                      // its own page, and how many others it looks at
    const int64_t* pages;                                      // those [K]
    const float *cos_back, *sin_back;                          // [K, d / 2]: by minus the offsets of their patches
};

struct Slot {             // a patch: one row, or two with guidance, the one with the prompt first
    int64_t row, guided;  // the first of them, and how many follow
    double scale, temperature, top_k, top_p, min_p;
    const double* noise;   // [M]
    const int64_t* known;  // [M], -1 where a token is to be drawn
    int64_t* drawn;        // [M], the result
    float* trace;          // [M, V] guided logits where drawn, or null
    double* said;          // takes log p(tokens drawn | prompt) / p(tokens drawn), or null
};

struct Batch {
    int64_t width, depth, heads, vocabulary, steps;
    const half *qkv, *out, *up, *down, *head;             // panels of all layers, one after another
    const float *norm1, *q_norm, *k_norm, *norm2, *norm;  // gains; q_norm holds the attention's scale too
    const float *begin, *table;                           // [D], [V, D]
    int64_t slots, together, threads, pages;              // together: slots that step side by side, in one thread
    const Slot* slot;
    const Row* row;
    half* pool;  // [L, pages] keys, then values, of M tokens
};

static inline vec widen(const half* p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p)); }
static inline void narrow(const float* from, half* to) {
    _mm_storeu_si128((__m128i*)to, _mm256_cvtps_ph(load(from), _MM_FROUND_TO_NEAREST_INT));
}

// A block has as many rows, and reads as many panels side by side, as there are registers for: 16 of eight numbers, or
// 32 of sixteen.
constexpr int TALL = WIDE ? 8 : 6, TALL_PANELS = WIDE ? 3 : 2;

// Keys and values that are read after the products at hand, and fetched meanwhile: products wait for arithmetic, what
// looks back waits for memory.
struct Soon {
    std::vector<const half*> parts;
    int64_t bytes = 0;  // of each
    size_t part = 0;
    int64_t at = 0;

    void fetch_line() {
        if (part == parts.size()) return;
        fetch((const char*)parts[part] + at);
        if ((at += 64) >= bytes) at = 0, part++;
    }
};

// Where a matrix of halves lies: row k begins at k * row, and its vector c is c * apart from there. Its products with a
// row of x lie `between` apart.
struct Form {
    int64_t row, apart, between;
};

// out [R, C vectors] = (add ? out : 0) + x [R, K] * w [K, C vectors], K a multiple of 4; one chain of additions over K
// for every number. Fetch: memory is fetched ahead of the products, rows of w lying one after another, and where there
// are several rows, what is read `soon`.
template <class Of, int R, int C, bool Fetch>
static inline void tile(const float* x, int64_t ldx, const half* w, Form form, int64_t K, float* out, int64_t ldo,
                        bool add, Soon* soon = nullptr) {
    using Vec = typename Of::Vec;
    constexpr int LINE = 64 / (sizeof(half) * Of::count);  // vectors in a line of memory
    constexpr int64_t ahead = WIDE ? ALOFT / C / 64 * 64 : AHEAD;
    Vec acc[R][C];
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int c = 0; c < C; c++)
            acc[r][c] = add ? Of::load(out + r * ldo + c * form.between) : Vec{};
    for (int64_t begin = 0; begin < K; begin += LINE) {
        if constexpr (Fetch) {
            UNROLL for (int c = 0; c < C; c++) fetch((const char*)(w + c * form.apart) + ahead);
            if constexpr (R > 1) UNROLL for (int c = 0; c < C; c++) soon->fetch_line();
        }
        UNROLL for (int64_t k = begin; k < begin + LINE; k++, w += form.row) {
            // Whichever are fewer, numbers of x or weights, wait in registers for the others.
            if constexpr (R <= C) {
                Vec a[R];
                UNROLL for (int r = 0; r < R; r++) a[r] = Of::all(x + r * ldx + k);
                UNROLL for (int c = 0; c < C; c++) {
                    const Vec b = Of::widen(w + c * form.apart);
                    UNROLL for (int r = 0; r < R; r++) acc[r][c] = Of::fma(a[r], b, acc[r][c]);
                }
            } else {
                Vec b[C];
                UNROLL for (int c = 0; c < C; c++) b[c] = Of::widen(w + c * form.apart);
                UNROLL for (int r = 0; r < R; r++) {
                    const Vec a = Of::all(x + r * ldx + k);
                    UNROLL for (int c = 0; c < C; c++) acc[r][c] = Of::fma(a, b[c], acc[r][c]);
                }
            }
        }
    }
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int c = 0; c < C; c++) Of::store(out + r * ldo + c * form.between, acc[r][c]);
}

// out [rows, N] = (add ? out : 0) + x [rows, K] * w, a weight matrix as panels [N / P, K, P]. Panels far apart are read
// side by side, each stretch of panels from its beginning to its end: a processor foresees several such streams better
// than one.
static void multiply(const float* x, int64_t rows, int64_t K, const half* w, int64_t N, float* out, bool add,
                     Soon& soon) {
    const int64_t blocks = (rows + TALL - 1) / TALL, least = rows / blocks, longer = rows % blocks;
    // Streams: enough chains to hide the latency of an addition, and few enough to stay in registers.
    const int64_t C = rows == 1 ? 8 : rows <= 3 ? 4 : rows <= 4 * blocks ? 3 : TALL_PANELS;
    const int64_t panels = N / P, length = panels / C, panel = P * K;
    auto side_by_side = [&](int64_t first, int64_t streams, int64_t apart) {
        for (int64_t block = 0, r = 0; block < blocks; block++) {
            const int64_t height = least + (block < longer);
            auto run = [&](auto R, auto most) {
                at_most<most>(streams, [&](auto c) {
                    tile<Widest, R, c, true>(x + r * K, K, w + first * panel, {P, apart * panel, apart * P}, K,
                                             out + r * N + first * P, N, add, &soon);
                });
            };
            switch (height) {
                case 1: run(number<1>, number<8>); break;
                case 2: run(number<2>, number<4>); break;
                case 3: run(number<3>, number<4>); break;
                case 4: run(number<4>, number<3>); break;
                case 5: run(number<5>, number<TALL_PANELS>); break;
                case 6: run(number<6>, number<TALL_PANELS>); break;
                case 7: run(number<7>, number<TALL_PANELS>); break;
                default: run(number<8>, number<TALL_PANELS>); break;
            }
            r += height;
        }
    };
    for (int64_t p = 0; p < length; p++) side_by_side(p, C, length);
    if (panels % C) side_by_side(length * C, panels % C, 1);
}

// out [H, N] = (add ? out : 0) + x [H, K] * w: each head its own row and its own matrix [K, N] at `head` from the one
// before. Heads take turns, for memory is read faster as a few streams than as one. next: what lies alike and is read
// after it, or null.
static void multiply_heads(int64_t H, const float* x, int64_t ldx, const half* w, int64_t head, int64_t row, int64_t K,
                           int64_t N, float* out, int64_t ldo, bool add, const half* next = nullptr) {
    const bool foreseen = next && H * head * int64_t(sizeof(half)) <= FORESEEN;
    const int64_t ahead = foreseen ? (const char*)next - (const char*)w : AHEAD;
    const int64_t turns = (H + STREAMS - 1) / STREAMS;
    auto columns = [&](auto of, int64_t n, int64_t vectors) {
        using Of = decltype(of);
        at_most<8>(vectors, [&](auto c) {
            for (int64_t turn = 0; turn < turns; turn++)
                for (int64_t k = 0; k < K; k += 4)
                    for (int64_t h = turn; h < H; h += turns) {
                        const half* at = w + h * head + k * row + n;
                        for (int64_t line = 0; line < 4 * row; line += 32) fetch((const char*)(at + line) + ahead);
                        tile<Of, 1, c, false>(x + h * ldx + k, 0, at, {row, Of::count, Of::count}, 4,
                                              out + h * ldo + n, 0, add || k > 0);
                    }
        });
    };
    int64_t n = 0;
    for (; n + P <= N; n += 8 * P) columns(Widest(), n, (N - n) / P);
    n = N / P * P;
    if (n < N) columns(Eight(), n, (N - n) / W);
}

// to [d] = x [d] turned; d / 2 a multiple of 8. May be in place.
static void turn(const float* x, const float* cos, const float* sin, int64_t d, float* to) {
    for (int64_t i = 0; i < d / 2; i += W) {
        const vec a = load(x + i), b = load(x + d / 2 + i), c = load(cos + i), s = load(sin + i);
        store(to + i, a * c - b * s);
        store(to + d / 2 + i, a * s + b * c);
    }
}

// Keys and values of some tokens of one row, of all heads, as others read them.
struct Span {
    half *keys, *values;  // [H, d, tokens], [H, tokens, d]
    int64_t tokens;
};

static Span span(half* at, int64_t tokens, int64_t width) { return {at, at + tokens * width, tokens}; }
static Span page(const Batch& b, int64_t l, int64_t number) {
    return span(b.pool + (l * b.pages + number) * 2 * b.width * b.steps, b.steps, b.width);
}
static Span front(const Batch& b, int64_t l, const Row& row) {
    return span(row.front + l * 2 * b.width * row.room, row.room, b.width);
}

// Puts key and value [H, d] at place j. Across: keys lie as Span says; else token after token, as those being drawn.
static void remember(const float* k, const float* v, const Span& to, int64_t j, bool across, int64_t heads, int64_t d) {
    half* key = to.keys + (across ? j : j * heads * d);
    const int64_t apart = across ? to.tokens : 1;
    for (int64_t i = 0; i < heads * d; i += W) {
        half part[W];
        narrow(k + i, part);
        for (int64_t c = 0; c < W; c++) key[(i + c) * apart] = part[c];
        narrow(v + i, to.values + (i / d * to.tokens + j) * d + i % d);
    }
}

// While a patch is drawn, the keys in its own page lie token after token, [M, H, d]: a new one is a few lines of
// memory, not a line for each of its numbers. Their scores: out [H, tokens] = q [H, d] . keys, tokens a multiple of 8;
// those of tokens that are not there yet mean nothing.
static void score_own(const float* q, const half* keys, int64_t H, int64_t d, int64_t tokens, float* out, int64_t ldo) {
    for (int64_t t = 0; t < tokens; t += W)
        for (int64_t head = 0; head < H; head++) {
            vec acc[W] = {};
            for (int64_t i = head * d; i < (head + 1) * d; i += W) {
                const vec a = load(q + i);
                UNROLL for (int j = 0; j < W; j++) acc[j] = fma(a, widen(keys + (t + j) * H * d + i), acc[j]);
            }
            for (int n = W; n > 2; n /= 2)  // the sum of each
                for (int j = 0; j < n / 2; j++) acc[j] = _mm256_hadd_ps(acc[2 * j], acc[2 * j + 1]);
            store(out + head * ldo + t,
                  _mm256_permute2f128_ps(acc[0], acc[1], 0x20) + _mm256_permute2f128_ps(acc[0], acc[1], 0x31));
        }
}

// Keys [M, D] of a patch that is done -> [D, M], in place.
static void turn_over(half* keys, int64_t M, int64_t D) {
    const std::vector<half> from(keys, keys + M * D);
    for (int64_t t = 0; t < M; t += W)
        for (int64_t i = 0; i < D; i += W) {
            __m128i rows[W], next[W];
            for (int j = 0; j < W; j++) rows[j] = _mm_loadu_si128((const __m128i*)&from[(t + j) * D + i]);
            for (int round = 0; round < 3; round++) {  // each interleaves the upper half with the lower
                for (int j = 0; j < W / 2; j++) {
                    next[2 * j] = _mm_unpacklo_epi16(rows[j], rows[j + W / 2]);
                    next[2 * j + 1] = _mm_unpackhi_epi16(rows[j], rows[j + W / 2]);
                }
                std::copy_n(next, W, rows);
            }
            for (int j = 0; j < W; j++) _mm_storeu_si128((__m128i*)(keys + (i + j) * M + t), rows[j]);
        }
}

// Scores [n] -> their exponentials, of which the sum is returned.
static float soften(float* scores, int64_t n) {
    vec most = load(scores), total = _mm256_setzero_ps();
    for (int64_t j = W; j < n; j += W) most = _mm256_max_ps(most, load(scores + j));
    float lanes[W];
    store(lanes, most);
    const vec top = all(*std::max_element(lanes, lanes + W));
    for (int64_t j = 0; j < n; j += W) {
        const vec e = exponential(load(scores + j) - top);
        store(scores + j, e);
        total = total + e;
    }
    return sum(total);
}

// What the query q [H, d] of a row sees at a position (that many tokens precede it) -> mixed [H, d]. after: whose turn
// is next, or null.
static void attend(const Batch& b, const Row& row, const Row* after, int64_t l, int64_t position, const float* q,
                   float* turned, float* scores, float* mixed) {
    const int64_t H = b.heads, D = b.width, d = D / H, M = b.steps, own = (position + W - 1) / W * W;
    const int64_t n = row.room + row.nearby * M + own;
    const Span words = front(b, l, row), self = page(b, l, row.page);
    auto nearby = [&](int64_t i) { return page(b, l, row.pages[i]); };
    multiply_heads(H, q, d, words.keys, d * words.tokens, words.tokens, d, words.tokens, scores, n, false);
    for (int64_t i = 0; i < row.nearby; i++) {
        const float *cos = row.cos_back + i * d / 2, *sin = row.sin_back + i * d / 2;
        const half* next = i + 1 < row.nearby ? nearby(i + 1).keys : nearby(0).values;
        for (int64_t at = 0; at < D; at += d) turn(q + at, cos, sin, d, turned + at);
        multiply_heads(H, turned, d, nearby(i).keys, d * M, M, d, M, scores + row.room + i * M, n, false, next);
    }
    score_own(q, self.keys, H, d, own, scores + n - own, n);
    float sums[MOST_HEADS];
    for (int64_t head = 0; head < H; head++) {
        float* of = scores + head * n;  // places that hold no token count for nothing
        std::fill(of + row.seen + 1, of + row.room, -1e30f);
        std::fill(of + n - own + position, of + n, -1e30f);
        sums[head] = soften(of, n);
    }
    std::fill(mixed, mixed + D, 0.0f);
    auto mix = [&](Span s, int64_t tokens, int64_t place, const half* next = nullptr) {
        multiply_heads(H, scores + place, n, s.values, s.tokens * d, d, tokens, d, mixed, d, true, next);
    };
    const half* then = after && after->nearby ? page(b, l, after->pages[0]).keys : nullptr;
    mix(words, row.room, 0);
    for (int64_t i = 0; i < row.nearby; i++)
        mix(nearby(i), M, row.room + i * M, i + 1 < row.nearby ? nearby(i + 1).values : then);
    mix(self, own, n - own);
    for (int64_t head = 0; head < H; head++)
        for (int64_t i = head * d; i < (head + 1) * d; i += W) store(mixed + i, load(mixed + i) * all(1 / sums[head]));
}

// One token by inverse CDF, as sampling.draw: the likeliest `top_k` (0: all) that reach `top_p` together and are each at
// least `min_p` times as likely as the first; likeliest first, equals by number. Tokens are told apart by how much less
// likely than the first they are; of two of these classes at most, the one where the kept end and the one where the
// choice falls, the order inside matters.
static int64_t draw(const float* logits, const Slot& slot, int64_t V, double noise) {
    const double temperature = slot.temperature, top_k = slot.top_k, top_p = slot.top_p;
    if (temperature == 0) return std::max_element(logits, logits + V) - logits;
    constexpr int CLASSES = 256;
    constexpr float A_NAT = 16.0f;  // classes for each factor e
    static thread_local std::vector<float> weights;
    static thread_local std::vector<int32_t> classes;
    static thread_local std::vector<std::pair<float, int32_t>> order;  // minus the logit, and the token
    const int64_t padded = (V + W - 1) / W * W;
    weights.resize(padded), classes.resize(padded), order.resize(V);
    const vec top = all(*std::max_element(logits, logits + V)), cooling = all(float(1 / temperature));
    for (int64_t i = 0; i < padded; i += W) {
        const vec less = (load(logits + i) - top) * cooling;
        store(&weights[i], exponential(less));
        const vec number = _mm256_min_ps(all(0.0f) - less * all(A_NAT), all(CLASSES - 1.0f));
        _mm256_storeu_si256((__m256i*)&classes[i], _mm256_cvttps_epi32(number));
    }
    double mass[CLASSES] = {}, total = 0, before = 0;
    int64_t count[CLASSES] = {}, left = top_k > 0 && top_k < V ? int64_t(top_k) : V;
    for (int64_t i = 0; i < V; i++) mass[classes[i]] += weights[i], count[classes[i]]++;
    if (slot.min_p > 0)
        left = std::min<int64_t>(left, std::count_if(&weights[0], &weights[V], [&](float w) { return w >= slot.min_p; }));
    for (double m : mass) total += m;
    auto sort = [&](int of) {
        int64_t n = 0;
        for (int64_t i = 0; i < V; i++)
            if (classes[i] == of) order[n++] = {-logits[i], int32_t(i)};
        std::sort(order.begin(), order.begin() + n);
        return n;
    };
    const double enough = top_p * total;
    int last = 0;  // the class where the kept tokens end
    while (last < CLASSES - 1 && before + mass[last] < enough && count[last] < left)
        before += mass[last], left -= count[last], last++;
    left = std::min(left, sort(last));
    int64_t kept = 0;
    do before += weights[order[kept++].second];
    while (kept < left && before < enough);
    const double target = noise * before;
    double cdf = 0;
    int chosen = 0;
    while (chosen < last && cdf + mass[chosen] <= target) cdf += mass[chosen++];
    if (chosen < last) kept = sort(chosen);
    int64_t choice = 0;
    for (; choice < kept - 1; choice++)
        if ((cdf += weights[order[choice].second]) > target) break;
    return order[choice].second;
}

// log p(token), of logits [V].
static double log_likelihood(const float* logits, int64_t token, int64_t V) {
    static thread_local std::vector<float> scores;
    scores.assign((V + W - 1) / W * W, -1e30f);
    std::copy_n(logits, V, scores.data());
    const float top = *std::max_element(logits, logits + V);
    return logits[token] - top - std::log(soften(scores.data(), int64_t(scores.size())));
}

extern "C" int64_t columns() { return P; }

// Numbers that wait between the parts of a layer, for as many lanes as are computed at once. A lane is a position of a
// row: one each while tokens are drawn, all M + 1 of one row when they are known.
struct Lanes {
    std::vector<const Row*> rows;
    int64_t first, positions;  // positions first .. first + positions - 1 of every row
    std::vector<float> x, h, qkv, mixed, wide, turned, scores, logits;
    Soon soon;

    int64_t count() const { return int64_t(rows.size()) * positions; }

    Lanes(const Batch& b, std::vector<const Row*> of, int64_t positions, bool draws)
        : rows(std::move(of)), first(0), positions(positions) {
        const int64_t n = count(), D = b.width;
        int64_t keys = 0;
        for (const Row* row : rows) keys = std::max(keys, row->room + (row->nearby + 1) * b.steps);
        for (auto [buffer, size] : std::initializer_list<std::pair<std::vector<float>*, int64_t>>{
                 {&x, D}, {&h, D}, {&qkv, 3 * D}, {&mixed, D}, {&wide, 4 * D}})
            buffer->resize(n * size);
        turned.resize(D), scores.resize(b.heads * keys);
        if (draws) logits.resize(n * padded(b));
    }

    // What all rows will see of their nearby patches in layer l. Lanes of one row share it, and have it already.
    void foresee(const Batch& b, int64_t l) {
        if (positions > 1) return;
        soon.parts.clear(), soon.part = 0, soon.at = 0;
        soon.bytes = sizeof(half) * 2 * b.width * b.steps;
        for (const Row* row : rows)
            for (int64_t i = 0; i < row->nearby; i++) soon.parts.push_back(page(b, l, row->pages[i]).keys);
    }

    static int64_t padded(const Batch& b) { return (b.vocabulary + 2 * W - 1) / (2 * W) * 2 * W; }
};

// One layer, x -> x; leaves the keys and values of its tokens in the rows' own pages.
static void pass(const Batch& b, Lanes& s, int64_t l) {
    const int64_t H = b.heads, D = b.width, d = D / H, P = s.positions, n = s.count();
    for (int64_t i = 0; i < n; i++) normalize(&s.x[i * D], b.norm1 + l * D, D, &s.h[i * D]);
    multiply(s.h.data(), n, D, b.qkv + l * D * 3 * D, 3 * D, s.qkv.data(), false, s.soon);
    for (int64_t i = 0; i < n; i++) {
        const Row& row = *s.rows[i / P];
        const int64_t position = s.first + i % P, angles = position * (d / 2);
        float *q = &s.qkv[i * 3 * D], *k = q + D, *v = k + D;
        for (int64_t at = 0; at < D; at += d) {
            normalize(q + at, b.q_norm + l * d, d, q + at);
            normalize(k + at, b.k_norm + l * d, d, k + at);
            turn(q + at, row.cos_target + angles, row.sin_target + angles, d, q + at);
            turn(k + at, row.cos_own + angles, row.sin_own + angles, d, k + at);
        }
        if (position)
            remember(k, v, page(b, l, row.page), position - 1, false, H, d);
        else  // the begin token's states are nobody else's business
            remember(k, v, front(b, l, row), row.seen, true, H, d);
    }
    for (int64_t i = 0; i < n; i++)
        attend(b, *s.rows[i / P], i + 1 < n ? s.rows[(i + 1) / P] : nullptr, l, s.first + i % P, &s.qkv[i * 3 * D],
               s.turned.data(), s.scores.data(), &s.mixed[i * D]);
    s.foresee(b, (l + 1) % b.depth);
    multiply(s.mixed.data(), n, D, b.out + l * D * D, D, s.x.data(), true, s.soon);
    for (int64_t i = 0; i < n; i++) normalize(&s.x[i * D], b.norm2 + l * D, D, &s.h[i * D]);
    multiply(s.h.data(), n, D, b.up + l * D * 4 * D, 4 * D, s.wide.data(), false, s.soon);
    for (int64_t i = 0; i < n * 4 * D; i += W) store(&s.wide[i], gelu(load(&s.wide[i])));
    multiply(s.wide.data(), n, 4 * D, b.down + l * D * 4 * D, D, s.x.data(), true, s.soon);
}

// What lane i is given: its token, if it is not the first, and what its position is told.
static void enter(const Batch& b, Lanes& s, int64_t i, const int64_t* tokens) {
    const int64_t D = b.width, position = s.first + i % s.positions;
    const float* token = position ? b.table + tokens[position - 1] * D : b.begin;
    const float* told = s.rows[i / s.positions]->conditions + position * D;
    for (int64_t c = 0; c < D; c += W) store(&s.x[i * D + c], load(token + c) + load(told + c));
}

// The states of one row whose tokens are known, in one pass.
static void replay(const Batch& b, const Row& row, const int64_t* tokens) {
    Lanes s(b, {&row}, b.steps + 1, false);
    for (int64_t i = 0; i < s.count(); i++) enter(b, s, i, tokens);
    for (int64_t l = 0; l < b.depth; l++) pass(b, s, l);
}

// Draws the tokens of some slots, step by step.
static void step(const Batch& b, const std::vector<const Slot*>& slots) {
    const int64_t D = b.width, V = b.vocabulary, padded = Lanes::padded(b);
    std::vector<const Row*> rows;
    std::vector<const Slot*> of;
    for (const Slot* slot : slots)
        for (int64_t i = 0; i <= slot->guided; i++) rows.push_back(&b.row[slot->row + i]), of.push_back(slot);
    Lanes s(b, rows, 1, true);
    std::vector<float> guided(padded);
    for (const Slot* slot : slots)
        if (slot->said) *slot->said = 0;
    for (s.first = 0; s.first <= b.steps; s.first++) {  // the last draws nothing: it leaves the last token's states
        for (int64_t i = 0; i < s.count(); i++) enter(b, s, i, of[i]->drawn);
        for (int64_t l = 0; l < b.depth; l++) pass(b, s, l);
        if (s.first == b.steps) break;
        for (int64_t i = 0; i < s.count(); i++) normalize(&s.x[i * D], b.norm, D, &s.h[i * D]);
        multiply(s.h.data(), s.count(), D, b.head, padded, s.logits.data(), false, s.soon);
        const float* with = s.logits.data();
        for (const Slot* slot : slots) {
            const float* without = with + slot->guided * padded;
            slot->drawn[s.first] = slot->known[s.first];
            if (slot->drawn[s.first] < 0) {
                const float scale = float(slot->scale);
                for (int64_t i = 0; i < V; i++) guided[i] = without[i] + scale * (with[i] - without[i]);
                if (slot->trace) std::copy_n(guided.data(), V, slot->trace + s.first * V);
                const int64_t token = draw(guided.data(), *slot, V, slot->noise[s.first]);
                slot->drawn[s.first] = token;
                if (slot->said) *slot->said += log_likelihood(with, token, V) - log_likelihood(without, token, V);
            }
            with = without + padded;
        }
    }
}

extern "C" void decode(const Batch* batch) {
    const Batch& b = *batch;
    std::vector<const Slot*> drawn;
    for (const Slot* slot = b.slot; slot < b.slot + b.slots; slot++) {
        const bool known = std::all_of(slot->known, slot->known + b.steps, [](int64_t token) { return token >= 0; });
        for (int64_t i = 0; i <= slot->guided; i++) {
            const Row& row = b.row[slot->row + i];
            std::memcpy(row.front, row.words, sizeof(half) * b.depth * 2 * b.width * row.room);
            if (known) {
                replay(b, row, slot->known);
                continue;
            }
            for (int64_t l = 0; l < b.depth; l++)  // infinite values of an earlier patch would not vanish
                std::fill_n(page(b, l, row.page).values, b.width * b.steps, half(0));
        }
        if (known)
            std::copy_n(slot->known, b.steps, slot->drawn);
        else
            drawn.push_back(slot);
    }
    std::atomic<size_t> next{0};
    auto draw_some = [&] {
        for (size_t i; (i = next.fetch_add(b.together)) < drawn.size();)
            step(b, {drawn.begin() + i, drawn.begin() + std::min(drawn.size(), i + size_t(b.together))});
    };
    std::vector<std::thread> helpers;
    try {
        for (size_t i = 1; i < size_t(b.threads) && i * b.together < drawn.size(); i++) helpers.emplace_back(draw_some);
    } catch (const std::system_error&) {  // no more threads are to be had: fewer draw the same
    }
    draw_some();
    for (std::thread& helper : helpers) helper.join();
    for (const Slot* slot = b.slot; slot < b.slot + b.slots; slot++)
        for (int64_t i = 0; i <= slot->guided; i++)
            for (int64_t l = 0; l < b.depth; l++)
                turn_over(page(b, l, b.row[slot->row + i].page).keys, b.steps, b.width);
}
