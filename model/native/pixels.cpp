// Pixels of tokens: the decoder of model/tokenizer.py.
//
// Convolutions of 3x3 take Winograd's way: four numbers side by side, a tile, are made by 16 products instead of 36.
// Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2015), F(2x2, 3x3). Tiles begin at even
// places of what is wanted, wherever its halo begins: so a token's pixels are the same bits in any region of even sides
// that holds its halo.

constexpr int64_t PANEL = 2 * Widest::count;        // columns of a panel of weights
constexpr int HIGH = Widest::count == 16 ? 12 : 6;  // rows for which there are registers
constexpr int64_t NEAR = 96;                        // rows that stay in the second cache, beside a matrix
constexpr int64_t PRODUCTS = 16;                    // of a tile, each with weights of its own

// What pixels.py hands over; the same fields in the same order. Matrices [K, N] are panels [N / PANEL, K, PANEL].

struct Block {                      // of C channels
    const float *gain, *shift;      // [C]
    const float *conv, *conv_bias;  // [16] matrices [C, C], and [C]
    const float *mix, *mix_bias;    // [C, C], [C]
};

struct Decoder {
    int64_t levels, coarse, fine, step;  // numbers of a code, channels of the two levels, and how much finer one is
    int64_t coarse_blocks, fine_blocks;
    const float *stem, *stem_bias;  // [levels, coarse] row by row, [coarse]
    const Block* block;             // coarse ones, then fine
    const float *up, *up_bias;      // [coarse, step^2 fine], the channels of a place side by side
    const float *gain, *shift;      // [fine]
    const float *head, *head_bias;  // [fine, 48 and zeros up to whole panels]: three colours of 4 x 4 pixels
};

// out [R, 2 vectors] = (add ? out : 0) + x [R, K] * w, one panel; one chain of additions over K for every number.
template <class Of, int R>
static inline void strip(const float* x, int64_t K, const float* w, float* out, int64_t N, bool add) {
    using Vec = typename Of::Vec;
    Vec acc[R][2];
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int c = 0; c < 2; c++) acc[r][c] = add ? Of::load(out + r * N + c * Of::count) : Vec{};
    for (int64_t k = 0; k < K; k++, w += 2 * Of::count) {
        const Vec b[2] = {Of::load(w), Of::load(w + Of::count)};
        UNROLL for (int r = 0; r < R; r++) {
            const Vec a = Of::all(x + r * K + k);
            UNROLL for (int c = 0; c < 2; c++) acc[r][c] = Of::fma(a, b[c], acc[r][c]);
        }
    }
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int c = 0; c < 2; c++) Of::store(out + r * N + c * Of::count, acc[r][c]);
}

// out [rows, N] = (add ? out : 0) + x [rows, K] * w.
static void product(const float* x, int64_t rows, int64_t K, const float* w, int64_t N, float* out, bool add) {
    const int64_t parts = (rows + NEAR - 1) / NEAR;
    for (int64_t part = 0, first = 0; part < parts; part++) {
        const int64_t end = rows * (part + 1) / parts, n = end - first, blocks = (n + HIGH - 1) / HIGH;
        for (int64_t p = 0; p < N / PANEL; p++)
            for (int64_t block = 0, r = first; block < blocks; block++) {
                const int64_t height = n / blocks + (block < n % blocks);
                at_most<HIGH>(height, [&](auto R) {
                    strip<Widest, R>(x + r * K, K, w + p * K * PANEL, out + r * N + p * PANEL, N, add);
                });
                r += height;
            }
        first = end;
    }
}

// A tile's 4x4 places of input, each of C channels and rows `line` apart -> 16 vectors [C], `apart` from each other.
static void spread(const float* in, int64_t line, int64_t C, float* out, int64_t apart) {
    using Of = Widest;
    for (int64_t c = 0; c < C; c += Of::count) {
        Of::Vec half_way[4][4];
        UNROLL for (int j = 0; j < 4; j++) {
            Of::Vec d[4];
            UNROLL for (int i = 0; i < 4; i++) d[i] = Of::load(in + i * line + j * C + c);
            half_way[0][j] = d[0] - d[2], half_way[1][j] = d[1] + d[2];
            half_way[2][j] = d[2] - d[1], half_way[3][j] = d[1] - d[3];
        }
        UNROLL for (int i = 0; i < 4; i++) {
            const auto& t = half_way[i];
            const Of::Vec v[4] = {t[0] - t[2], t[1] + t[2], t[2] - t[1], t[1] - t[3]};
            UNROLL for (int j = 0; j < 4; j++) Of::store(out + (4 * i + j) * apart + c, v[j]);
        }
    }
}

// 16 vectors of products -> what they say of a tile's 2x2 places, at c.
static inline void gather(const float* in, int64_t apart, int64_t c, vec out[2][2]) {
    vec half_way[2][4];
    UNROLL for (int j = 0; j < 4; j++) {
        vec m[4];
        UNROLL for (int i = 0; i < 4; i++) m[i] = load(in + (4 * i + j) * apart + c);
        half_way[0][j] = m[0] + m[1] + m[2], half_way[1][j] = m[1] - m[2] - m[3];
    }
    UNROLL for (int i = 0; i < 2; i++) {
        const vec* t = half_way[i];
        out[i][0] = t[0] + t[1] + t[2], out[i][1] = t[1] - t[2] - t[3];
    }
}

// A region [h, w, C] with `margin` places on each side that are only looked at.
struct Region {
    std::vector<float> x;
    int64_t h, w, C, margin;
};

// Where there are tokens [h, w]; a region that has lost `gone` of its places on each side, `finer` for each token.
struct Known {
    const uint8_t* at;
    int64_t w;
    bool operator()(int64_t y, int64_t x, int64_t gone, int64_t finer) const {
        return at[(y + gone) / finer * w + (x + gone) / finer];
    }
};

static void normalize(const float* x, const float* gain, const float* shift, int64_t n, float* out) {
    normalize(x, gain, n, out);
    for (int64_t i = 0; i < n; i += W) store(out + i, load(out + i) + load(shift + i));
}

// Room for what waits between the parts of a block.
struct Room {
    std::vector<float> normal, spread, products, mixed, out;
};

// One residual block, in place; of the margin, `needed` places stay.
static void block(const Block& b, const Known& known, int64_t gone, int64_t finer, int64_t needed, Region& r, Room& s) {
    const int64_t C = r.C, cut = std::max<int64_t>(0, r.margin - needed), h = r.h - 2 * cut, w = r.w - 2 * cut;
    const int64_t odd = (r.margin - cut) & 1;  // tiles begin one place before the region
    const int64_t line = (r.w + 4) * C;        // two places of zeros all around, as wherever nothing is known
    s.normal.assign((r.h + 4) * line, 0.0f);
    for (int64_t y = 0; y < r.h; y++)
        for (int64_t x = 0; x < r.w; x++)
            if (known(y, x, gone, finer))
                normalize(&r.x[(y * r.w + x) * C], b.gain, b.shift, C, &s.normal[(y + 2) * line + (x + 2) * C]);
    const int64_t high = (h + odd + 1) / 2, wide = (w + odd + 1) / 2, rows = std::max<int64_t>(1, NEAR / wide);
    s.mixed.resize(h * w * C), s.out.resize(h * w * C);
    for (int64_t first = 0; first < high; first += rows) {
        const int64_t n = std::min(rows, high - first) * wide, apart = n * C;
        s.spread.resize(PRODUCTS * apart), s.products.resize(PRODUCTS * apart);
        for (int64_t t = 0; t < n; t++) {
            const int64_t y = 2 * (first + t / wide) - odd + cut + 1, x = 2 * (t % wide) - odd + cut + 1;
            spread(&s.normal[y * line + x * C], line, C, &s.spread[t * C], apart);
        }
        for (int64_t k = 0; k < PRODUCTS; k++)
            product(&s.spread[k * apart], n, C, b.conv + k * C * C, C, &s.products[k * apart], false);
        for (int64_t t = 0; t < n; t++) {
            const int64_t y = 2 * (first + t / wide) - odd, x = 2 * (t % wide) - odd;
            for (int64_t c = 0; c < C; c += W) {
                vec tile[2][2];
                gather(&s.products[t * C], apart, c, tile);
                for (int64_t i = std::max<int64_t>(0, -y); i < std::min<int64_t>(2, h - y); i++)
                    for (int64_t j = std::max<int64_t>(0, -x); j < std::min<int64_t>(2, w - x); j++)
                        store(&s.mixed[((y + i) * w + x + j) * C + c], gelu(tile[i][j] + load(b.conv_bias + c)));
            }
        }
    }
    for (int64_t y = 0; y < h; y++)
        for (int64_t i = 0; i < w * C; i += W)
            store(&s.out[y * w * C + i], load(&r.x[((y + cut) * r.w + cut) * C + i]) + load(b.mix_bias + i % C));
    product(s.mixed.data(), h * w, C, b.mix, C, s.out.data(), true);
    r.x.swap(s.out), r.h = h, r.w = w, r.margin -= cut;
}

// Rows of biases, to which a product is added.
static void fill(std::vector<float>& out, int64_t rows, const float* bias, int64_t N) {
    out.resize(rows * N);
    for (int64_t i = 0; i < rows; i++) std::copy_n(bias, N, &out[i * N]);
}

extern "C" int64_t panel() { return PANEL; }

// codes [h, w, levels] and where they are known [h, w] -> pixels [3, H, W] in [-1, 1], H = 4 step (h - 2 halo).
extern "C" void paint(const Decoder* decoder, const float* codes, const uint8_t* at, int64_t h, int64_t w, int64_t halo,
                      float* pixels) {
    const Decoder& d = *decoder;
    const Known known{at, w};
    static thread_local Room room;
    Region r{{}, h, w, d.coarse, halo};
    fill(r.x, h * w, d.stem_bias, d.coarse);
    for (int64_t i = 0; i < h * w; i++)
        for (int64_t l = 0; l < d.levels; l++)
            for (int64_t c = 0; c < d.coarse; c += W) {
                float* x = &r.x[i * d.coarse + c];
                store(x, fma(all(codes[i * d.levels + l]), load(d.stem + l * d.coarse + c), load(x)));
            }
    const Block* b = d.block;
    const int64_t reach = (d.fine_blocks + d.step - 1) / d.step;  // of the fine blocks, in tokens
    for (int64_t after = d.coarse_blocks - 1; after >= 0; after--)
        block(*b++, known, halo - r.margin, 1, after + reach, r, room);
    const int64_t many = d.step * d.step * d.fine;
    fill(room.out, r.h * r.w, d.up_bias, many);
    product(r.x.data(), r.h * r.w, d.coarse, d.up, many, room.out.data(), true);
    Region f{{}, r.h * d.step, r.w * d.step, d.fine, r.margin * d.step};
    f.x.resize(f.h * f.w * f.C);
    for (int64_t y = 0; y < f.h; y++)
        for (int64_t x = 0; x < f.w; x++)
            std::copy_n(&room.out[((y / d.step * r.w + x / d.step) * d.step * d.step + y % d.step * d.step + x % d.step) *
                                  d.fine],
                        d.fine, &f.x[(y * f.w + x) * d.fine]);
    for (int64_t after = d.fine_blocks - 1; after >= 0; after--)
        block(*b++, known, halo * d.step - f.margin, d.step, after, f, room);
    const int64_t colours = (48 + PANEL - 1) / PANEL * PANEL, W4 = 4 * f.w;
    for (int64_t i = 0; i < f.h * f.w; i++) normalize(&f.x[i * f.C], d.gain, d.shift, f.C, &f.x[i * f.C]);
    fill(room.out, f.h * f.w, d.head_bias, colours);
    product(f.x.data(), f.h * f.w, d.fine, d.head, colours, room.out.data(), true);
    for (int64_t i = 0; i < f.h * f.w; i++)
        for (int64_t c = 0; c < 48; c++) {
            const int64_t y = 4 * (i / f.w) + c % 16 / 4, x = 4 * (i % f.w) + c % 4;
            pixels[(c / 16 * 4 * f.h + y) * W4 + x] = std::clamp(room.out[i * colours + c], -1.0f, 1.0f);
        }
}
