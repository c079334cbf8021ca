// The layers of a chain for ONE member, forward and back, as the text has them; lockstep/engine/backprop says the same
// in PyTorch beside the formulas. A batch is n rows of `padded(width)` numbers, or each thread's columns of them one after
// another (Team::columns); what is padded is 0 in every δ.
#pragma once
#include <algorithm>
#include <cstring>
#include <type_traits>

#include "product.h"
#include "team.h"

enum Kind : int32_t {
    LINEAR, ACTIVATION, BATCH_NORM, FEATURE_NORM, ROOT_MEAN_SQUARE, AFFINE, DROPOUT, SCALE, SHIFT,
    ATTENTION, CONVOLUTION, RECURRENCE, SUM  // only in parts.cpp
};
enum Function : int32_t { RELU, LEAKY_RELU, ELU, GELU, GELU_TANH, SILU, MISH, SIGMOID, TANH };

// A layer as data; the fields that its kind has no use for are 0. Offsets are places among a member's padded numbers.
struct Layer {
    int32_t kind, function;
    int64_t in, out;            // widths
    int64_t weight, bias;       // offsets of the parameters, −1: it has none
    int64_t lowest;             // nothing below learns: nobody asks for its δ_below
    int64_t by_places, asked;   // of a first linear layer: its one-hots come as places, see Hot; from where on in δ_below
    int64_t groups, place;      // of a norm; which of the keys is the dropout's
    double eps, momentum, a, s;
    void *first, *second;       // buffers of all members: running mean and variance; threshold and scale; a row
    int64_t* count;             // batches seen [K]; null: the running numbers stay as they are
    int64_t stride, wide;       // from one member's buffer to the next; whether there is a number for each column
};

// Features begin … end of a batch are one-hots, `count` to a row. They are not filled in, for a product would multiply
// by little else than zeros: `places` [n, count] says which features are 1, −1 where none is.
struct Hot {
    long begin = 0, end = 0, count = 0;
    const int32_t* places = nullptr;

    template <class F>
    void each(long row, F f) const {
        for (long i = row * count; i < (row + 1) * count; i++)
            if (places[i] >= 0) f(places[i]);
    }
};

// What a layer needs beside its input: whose turn it is, and where things lie.
struct Now {
    long member, n;
    bool training;
    const Real* params;
    Real* grads;
    const int32_t* keys;
    Team team;
    Hot hot = {};
    long first = 0;  // where in the batch the n rows begin
    bool apart_in = false, apart_out = false;  // how a layer's input and output lie, see Team::columns

    Hot hot_of(const Layer& l) const { return l.by_places ? hot : Hot{l.in, l.in}; }
    Range rows() const { return team.share(n); }
    Range columns(long ld) const { return team.columns(ld); }
    Columns own_out(long ld) const { return team.columns(ld, n, apart_out); }
    template <class F>
    void each_stretch(long ld, F f) const {  // of the own columns of all rows
        const Columns own = own_out(ld);
        if (own.size() == own.ld) return f(Range{own.place, own.place + n * own.ld});
        for (long b = 0; b < n; b++) f(Range{own.row(b) + own.begin, own.row(b) + own.end});
    }
    // f(columns) of all of a batch, as many of them at once as lie together.
    template <class F>
    void each_part(long ld, bool apart, F f) const {
        if (!apart) return f(Columns{0, ld, 0, ld});
        for (long t = 0; t < team.size; t++) f(Team{t, team.size}.columns(ld, n, apart));
    }
};

template <class F>
static inline void map(const Real* x, Real* y, Range r, F f) {
    for (long i = r.begin; i < r.end; i += L) store(y + i, f(load(x + i)));
}

template <class F>
static inline void map2(const Real* x, const Real* z, Real* y, Range r, F f) {
    for (long i = r.begin; i < r.end; i += L) store(y + i, f(load(x + i), load(z + i)));
}

template <int VECTORS, class F, class G>
static inline void down_some(long j, Columns columns, long n, F each, G done) {
    Vec sums[VECTORS] = {};
    for (long b = 0; b < n; b++)
#pragma GCC unroll 8
        for (int v = 0; v < VECTORS; v++) sums[v] += each(columns.row(b) + j + v * L, j + v * L);
#pragma GCC unroll 8
    for (int v = 0; v < VECTORS; v++) done(j + v * L, sums[v]);
}

// done(j, Σ each(place, j)) over n rows, for the vectors of columns j; some at a time, so that no sum waits for itself.
template <class F, class G>
static inline void down(Columns columns, long n, F each, G done) {
    long j = columns.begin;
    for (; j + 4 * L <= columns.end; j += 4 * L) down_some<4>(j, columns, n, each, done);
    for (; j < columns.end; j += L) down_some<1>(j, columns, n, each, done);
}

static inline void sum_down(const Real* x, Columns columns, long n, Real* to) {
    down(columns, n, [=](long at, long) { return load(x + at); }, [=](long j, Vec sum) { store(to + j, sum); });
}

static inline Real along(const Real* x, long n) {
    Vec s{};
    long i = 0;
    for (; i + L <= n; i += L) s += load(x + i);
    Real rest = sum(s);
    for (; i < n; i++) rest += x[i];
    return rest;
}

static inline Real along(const Real* x, const Real* y, long n) {
    Vec s{};
    long i = 0;
    for (; i + L <= n; i += L) s += load(x + i) * load(y + i);
    Real rest = sum(s);
    for (; i < n; i++) rest += x[i] * y[i];
    return rest;
}

// -------------------------------------------------------------------------------------------------------- activations

static inline Vec softplus_tanh(Vec e) {  // tanh(log(1 + e^z)) of e = e^z
    const Vec n = (e + Real(2)) * e;
    return n / (n + Real(2));
}

static inline Vec capped_exponential(Vec z) { return exponential(smaller(z, splat(Real(20)))); }

template <class F>
static void with_function(const Layer& l, F apply) {
    const Real a = Real(l.a), s = Real(l.s);
    const Real half_root = Real(0.79788456080286535588), cubic = Real(0.044715);  // √(2/π)
    const Real bell = Real(0.39894228040143267794);                                // 1/√(2π)
    const auto inner = [=](Vec z) { return ((z * z * cubic + Real(1)) * z) * half_root; };
    switch (l.function) {  // f(z), and f′ of z and h = f(z)
        case RELU:
            return apply([](Vec z) { return larger(Vec{}, z); },
                         [](Vec, Vec h) { return select(h, splat(1), Vec{}); });
        case LEAKY_RELU:
            return apply([=](Vec z) { return select(z, z, z * a); },
                         [=](Vec z, Vec) { return select(z, splat(1), splat(a)); });
        case ELU:
            return apply([=](Vec z) { return select(z, z, (exponential(smaller(Vec{}, z)) - Real(1)) * a) * s; },
                         [=](Vec z, Vec h) { return select(z, splat(s), h + s * a); });
        case GELU:
            return apply([](Vec z) { return z * normal_distribution(z, exponential(z * z * Real(-0.5))); },
                         [=](Vec z, Vec) {
                             const Vec e = exponential(z * z * Real(-0.5));
                             return normal_distribution(z, e) + z * e * bell;
                         });
        case GELU_TANH:
            return apply([=](Vec z) { return (hyperbolic_tangent(inner(z)) + Real(1)) * z * Real(0.5); },
                         [=](Vec z, Vec) {
                             const Vec t = hyperbolic_tangent(inner(z));
                             const Vec u = (z * z * (3 * cubic) + Real(1)) * half_root;
                             return ((Real(1) - t * t) * u * z + t + Real(1)) * Real(0.5);
                         });
        case SILU:
            return apply([](Vec z) { return z * sigmoid(z); },
                         [](Vec z, Vec h) {
                             const Vec p = sigmoid(z);
                             return (Real(1) - p) * h + p;
                         });
        case MISH:
            return apply([](Vec z) { return z * softplus_tanh(capped_exponential(z)); },
                         [](Vec z, Vec) {
                             const Vec e = capped_exponential(z), bottom = (e + Real(2)) * e + Real(2);
                             return Real(4) * e * (e + Real(1)) / (bottom * bottom) * z + softplus_tanh(e);
                         });
        case SIGMOID:
            return apply([](Vec z) { return sigmoid(z); }, [](Vec, Vec h) { return (Real(1) - h) * h; });
        case TANH:
            return apply([](Vec z) { return hyperbolic_tangent(z); }, [](Vec, Vec h) { return Real(1) - h * h; });
    }
}

// -------------------------------------------------------------------------------------------------------------- norms

static void batch_norm(const Layer& l, const Real* x, Real* y, Real* kept, const Now& now) {
    const long n = now.n, ld = padded(l.out);
    Real *mean = kept, *rstd = kept + ld;
    Real* mean_of_all = static_cast<Real*>(l.first) + now.member * l.stride;
    Real* var_of_all = static_cast<Real*>(l.second) + now.member * l.stride;
    const Columns own = now.own_out(ld);
    if (now.training) {
        down(own, n, [=](long at, long) { return load(x + at); },
             [=](long j, Vec sum) { store(mean + j, sum / Real(n)); });
        down(own, n, [=](long at, long j) { const Vec c = load(x + at) - load(mean + j); return c * c; },
             [=](long j, Vec sum) { store(rstd + j, sum / Real(n)); });  // the variance, so far
    }
    for (long j = own.begin; j < std::min<long>(own.end, l.out); j++) {
        if (!now.training) {
            mean[j] = mean_of_all[j];
            rstd[j] = var_of_all[j];
        } else if (l.count) {
            mean_of_all[j] += Real(l.momentum) * (mean[j] - mean_of_all[j]);
            var_of_all[j] += Real(l.momentum) * (rstd[j] * (Real(n) / Real(n - 1)) - var_of_all[j]);
        }
    }
    map(rstd, rstd, {own.begin, own.end}, [&](Vec var) { return Real(1) / root(var + Real(l.eps)); });
    for (long b = 0; b < n; b++)
        for (long j = own.begin; j < own.end; j += L)
            store(y + own.row(b) + j, (load(x + own.row(b) + j) - load(mean + j)) * load(rstd + j));
    if (now.training && l.count && now.team.index == 0) l.count[now.member]++;
}

static void batch_norm_back(const Layer& l, Real* delta, const Real* x_hat, Real* kept, const Now& now) {
    const long n = now.n, ld = padded(l.out);
    Real *mean = kept, *by = kept + 2 * ld;
    const Real* rstd = kept + ld;
    const Columns own = now.own_out(ld);
    down(own, n, [=](long at, long) { return load(delta + at); },
         [=](long j, Vec sum) { store(mean + j, sum / Real(n)); });
    down(own, n, [=](long at, long) { return load(delta + at) * load(x_hat + at); },
         [=](long j, Vec sum) { store(by + j, sum / Real(n)); });
    for (long b = 0; b < n; b++)
        for (long j = own.begin; j < own.end; j += L) {
            Real* d = delta + own.row(b) + j;
            store(d, (load(d) - load(mean + j) - load(x_hat + own.row(b) + j) * load(by + j)) * load(rstd + j));
        }
}

// Layer norm (one group), group norm, and, without a mean, RMS norm.
static void feature_norm(const Layer& l, const Real* x, Real* y, Real* rstd, const Now& now) {
    const long ld = padded(l.out), size = l.out / l.groups;
    const Range own = now.rows();
    for (long b = own.begin; b < own.end; b++) {
        for (long g = 0; g < l.groups; g++) {
            const Real* in = x + b * ld + g * size;
            Real* out = y + b * ld + g * size;
            const Real mean = l.kind == ROOT_MEAN_SQUARE ? Real(0) : along(in, size) / Real(size);
            for (long i = 0; i < size; i++) out[i] = in[i] - mean;
            const Real scale = Real(1) / std::sqrt(along(out, out, size) / Real(size) + Real(l.eps));
            for (long i = 0; i < size; i++) out[i] *= scale;
            rstd[b * l.groups + g] = scale;
        }
        for (long i = l.out; i < ld; i++) y[b * ld + i] = 0;
    }
}

static void feature_norm_back(const Layer& l, Real* delta, const Real* x_hat, const Real* rstd, const Now& now) {
    const long ld = padded(l.out), size = l.out / l.groups;
    const Range own = now.rows();
    for (long b = own.begin; b < own.end; b++)
        for (long g = 0; g < l.groups; g++) {
            Real* d = delta + b * ld + g * size;
            const Real* h = x_hat + b * ld + g * size;
            const Real mean = l.kind == ROOT_MEAN_SQUARE ? Real(0) : along(d, size) / Real(size);
            const Real by = along(d, h, size) / Real(size), scale = rstd[b * l.groups + g];
            for (long i = 0; i < size; i++) d[i] = (d[i] - mean - h[i] * by) * scale;
        }
}

static void affine(const Layer& l, const Real* x, Real* y, const Now& now) {
    const long ld = padded(l.out);
    const Columns own = now.own_out(ld);
    const Real *gain = now.params + l.weight, *shift = l.bias < 0 ? nullptr : now.params + l.bias;
    for (long b = 0; b < now.n; b++)
        for (long j = own.begin; j < own.end; j += L)
            store(y + own.row(b) + j, load(x + own.row(b) + j) * load(gain + j) + (shift ? load(shift + j) : Vec{}));
}

static void affine_back(const Layer& l, Real* delta, const Real* x_hat, const Now& now) {
    const long ld = padded(l.out);
    const Columns own = now.own_out(ld);
    const Real* gain = now.params + l.weight;
    Real* to_gain = now.grads + l.weight;
    if (l.bias >= 0) sum_down(delta, own, now.n, now.grads + l.bias);
    down(own, now.n, [=](long at, long) { return load(delta + at) * load(x_hat + at); },
         [=](long j, Vec sum) { store(to_gain + j, sum); });
    for (long b = 0; b < now.n; b++)
        for (long j = own.begin; j < own.end; j += L)
            store(delta + own.row(b) + j, load(delta + own.row(b) + j) * load(gain + j));
}

// ---------------------------------------------------------------------------------------------------- the other layers

// One vector of columns cannot be shared out: rows are.
static bool narrow(const Layer& l) { return padded(l.out) == L; }

// Of a tile nearly all would be padding. Not the first of a chain, whose features are taken part by part (`asked`).
constexpr long FEW = 2;
static bool few(const Layer& l) { return l.out <= FEW && !l.asked; }

// f(vectors, j) for the columns j … of so many vectors, until all `size` are done.
template <class F>
static inline void strips(long size, F f) {
    long j = 0;
    for (; j + 4 * L <= size; j += 4 * L) f(std::integral_constant<int, 4>{}, j);
    for (; j + 3 * L <= size; j += 3 * L) f(std::integral_constant<int, 3>{}, j);
    for (; j < size; j += L) f(std::integral_constant<int, 1>{}, j);
}

// y [n] += the rows of W [in, n] that a one-hot is multiplied by, some vectors at a time.
template <int VECTORS>
static inline void add_hot(const Hot& hot, long row, const Real* W, long ldw, Real* y) {
    Vec sums[VECTORS];
#pragma GCC unroll 8
    for (int v = 0; v < VECTORS; v++) sums[v] = load(y + v * L);
    hot.each(row, [&](long place) {
#pragma GCC unroll 8
        for (int v = 0; v < VECTORS; v++) sums[v] += load(W + place * ldw + v * L);
    });
#pragma GCC unroll 8
    for (int v = 0; v < VECTORS; v++) store(y + v * L, sums[v]);
}

// The rows of dW [in, n] that a one-hot stands for += δ [n].
template <int VECTORS>
static inline void add_to_hot(const Hot& hot, long row, const Real* delta, Range among, Real* grads, long ldw) {
    Vec own[VECTORS];
#pragma GCC unroll 8
    for (int v = 0; v < VECTORS; v++) own[v] = load(delta + v * L);
    hot.each(row, [&](long place) {
        if (place < among.begin || place >= among.end) return;
        Real* to = grads + place * ldw;
#pragma GCC unroll 8
        for (int v = 0; v < VECTORS; v++) store(to + v * L, load(to + v * L) + own[v]);
    });
}

// y [n, few] = h Wᵀ + b, a sum along each row of h. Keeps W the other way round, [few, in].
static void few_outputs(const Layer& l, const Real* h, Real* y, Real* turned, const Now& now) {
    const long ld = padded(l.in);
    const Real *W = now.params + l.weight, *bias = l.bias < 0 ? nullptr : now.params + l.bias;
    const Range own = now.columns(ld), rows = now.rows();
    for (long c = 0; c < l.out; c++)
        for (long i = own.begin; i < own.end; i++) turned[c * ld + i] = i < l.in ? W[i * L + c] : Real(0);
    now.team.meet();
    for (long b = rows.begin; b < rows.end; b++) {
        Vec out = bias ? load(bias) : Vec{};
        for (long c = 0; c < l.out; c++) {
            Vec sums{};
            now.each_part(ld, now.apart_in, [&](Columns from) {
                for (long j = from.begin; j < from.end; j += L)
                    sums += load(h + from.row(b) + j) * load(turned + c * ld + j);
            });
            out[c] += sum(sums);
        }
        store(y + b * L, out);
    }
}

// dW = δᵀh and δ_below = δW, each by the columns of h.
static void few_outputs_back(const Layer& l, const Real* delta, const Real* h, Real* below, Real* turned, const Now& now) {
    const long ld = padded(l.in);
    const Columns own = now.team.columns(ld, now.n, now.apart_in);
    Real* mine = turned + own.begin;
    if (!l.lowest)
        product(now.n, own.size(), l.out, Left{delta, L, 1}, mine, ld, below + own.place, own.ld, nullptr);
    product(l.out, own.size(), now.n, Left{delta, 1, L}, h + own.place, own.ld, mine, ld, nullptr);
    Real* grads = now.grads + l.weight;
    for (long c = 0; c < l.out; c++)
        for (long i = own.begin; i < std::min<long>(own.end, l.in); i++) grads[i * L + c] = turned[c * ld + i];
    if (l.bias >= 0) sum_down(delta, now.own_out(L), now.n, now.grads + l.bias);
}

static void linear(const Layer& l, const Real* x, Real* y, Real* turned, const Now& now) {
    if (few(l)) return few_outputs(l, x, y, turned, now);
    const long ld = padded(l.out), ld_below = padded(l.in);
    const Columns own = narrow(l) ? Columns{0, L, 0, L} : now.own_out(ld);
    const Range rows = narrow(l) ? now.rows() : Range{0, now.n};
    const Real* W = now.params + l.weight + own.begin * l.in;
    const Real* start = l.bias < 0 ? nullptr : now.params + l.bias + own.begin;
    Real* out = y + own.place + rows.begin * own.ld;
    const Hot hot = now.hot_of(l);
    long lds = 0;
    const auto add = [&](Columns from, long begin, long end) {  // the product of these columns of x
        if (begin > end || (begin == end && lds)) return;
        product(rows.size(), own.size(), end - begin, Left{x + from.row(rows.begin) + begin, from.ld, 1},
                W + begin * own.size(), own.size(), out, own.ld, start, lds);
        start = out, lds = own.ld;
    };
    now.each_part(ld_below, now.apart_in, [&](Columns from) {
        add(from, from.begin, std::min(from.end, hot.begin));
        add(from, std::max(from.begin, hot.end), std::min(from.end, l.in));
    });
    for (long b = rows.begin; hot.count && b < rows.end; b++) {
        Real* to = y + own.place + b * own.ld;
        strips(own.size(), [&](auto vectors, long j) { add_hot<vectors()>(hot, b, W + j, own.size(), to + j); });
    }
}

// W from row `from` on the other way round, [out, in], in parts: the columns of each thread together. A thread turns its
// own columns of W [in, out], which are rows of every part.
static void turn(const Layer& l, long from, const Real* W, Columns own, Real* turned, const Team& team) {
    const Range rows = {own.begin, std::min<long>(own.end, l.out)};
    for (long t = 0; t < team.size; t++) {
        const Range part = Team{t, team.size}.columns(padded(l.in) - from);
        const long begin = from + part.begin, there = std::clamp<long>(l.in - begin, 0, part.size());
        Real* to = turned + part.begin * l.out;
        transpose(there, rows.size(), W + begin * own.size(), own.size(), to + rows.begin * part.size(), part.size());
        for (long k = rows.begin; k < rows.end; k++)
            for (long i = there; i < part.size(); i++) to[k * part.size() + i] = 0;
    }
}

// dW = δᵀh (kept as its transpose, as W is), db = Σδ, δ_below = δW, which needs W the other way round. Of features, δ is
// asked for embeddings alone, which are the last.
static void linear_back(const Layer& l, const Real* delta, const Real* h, Real* below, Real* kept, Real* turned,
                        const Now& now) {
    if (few(l)) return few_outputs_back(l, delta, h, below, kept, now);
    const long ld = padded(l.out), ld_below = padded(l.in);
    const Columns own = now.own_out(ld), across = narrow(l) ? Columns{0, L, 0, L} : own;
    const Range lines = narrow(l) ? now.team.share(l.in) : Range{0, l.in};
    const Hot hot = now.hot_of(l);
    Real* grads = now.grads + l.weight + across.begin * l.in;
    const auto fill = [&](Columns from, long begin, long end) {  // the lines of these columns of h
        begin = std::max({begin, lines.begin, from.begin}), end = std::min({end, lines.end, from.end});
        if (begin < end)
            product(end - begin, across.size(), now.n, Left{h + from.row(0) + begin, 1, from.ld}, delta + across.place,
                    across.ld, grads + begin * across.size(), across.size(), nullptr);
    };
    now.each_part(ld_below, now.apart_in, [&](Columns from) {
        fill(from, 0, hot.begin);
        fill(from, hot.end, l.in);
    });
    const Range among = {std::max(lines.begin, hot.begin), std::min(lines.end, hot.end)};
    if (among.size() > 0) {
        std::memset(grads + among.begin * across.size(), 0, among.size() * across.size() * sizeof(Real));
        strips(across.size(), [&](auto vectors, long j) {
            for (long b = 0; b < now.n; b++)
                add_to_hot<vectors()>(hot, b, delta + across.place + b * across.ld + j, among, grads + j, across.size());
        });
    }
    if (l.bias >= 0) sum_down(delta, own, now.n, now.grads + l.bias);
    if (l.lowest) return;

    const long from = l.asked / L * L;
    turn(l, from, now.params + l.weight + own.begin * l.in, own, turned, now.team);
    now.team.meet();
    const Range some = now.columns(ld_below - from);
    const Real* start = nullptr;
    Real* out = below + (now.apart_in ? some.begin * now.n : from + some.begin);
    const long ldo = now.apart_in ? some.size() : ld_below;
    now.each_part(ld, now.apart_out, [&](Columns over) {
        const long count = std::min<long>(over.end, l.out) - over.begin;
        if (count <= 0) return;
        product(now.n, some.size(), count, Left{delta + over.place, over.ld, 1},
                turned + some.begin * l.out + over.begin * some.size(), some.size(), out, ldo, start, ldo);
        start = out;
    });
}

static void dropout(const Layer& l, const Real* x, Real* y, Real* kept, const Now& now) {
    const long ld = padded(l.out);
    const int32_t threshold = static_cast<const int32_t*>(l.first)[now.member];
    const Real scale = static_cast<const Real*>(l.second)[now.member];
    const uint32_t key = uint32_t(now.keys[l.place]), folded = key ^ (key >> 16);
    Bits lanes;
    for (long i = 0; i < L; i++) lanes[i] = uint32_t(i);
    const Columns own = now.own_out(ld);
    for (long b = 0; b < now.n; b++)
        for (long j = own.begin; j < own.end; j += L) {
            const SignedBits drawn = reinterpret_cast<SignedBits>(hashed(lanes + uint32_t((now.first + b) * l.out + j), folded));
            const SignedBits there = drawn >= threshold;  // −1 where it is kept
            const Vec r = __builtin_convertvector(there, Vec) * -scale;
            store(kept + own.row(b) + j, r);
            store(y + own.row(b) + j, load(x + own.row(b) + j) * r);
        }
}

template <class F>
static void by_columns(const Layer& l, const Real* x, Real* y, const Now& now, F f) {
    const long ld = padded(l.out);
    const Real* row = static_cast<const Real*>(l.first) + now.member * l.stride;
    const Columns own = now.own_out(ld);
    for (long j = own.begin; j < own.end; j += L) {
        Vec by{};
        for (long i = 0; i < L && j + i < l.out; i++) by[i] = row[l.wide ? j + i : 0];
        for (long b = 0; b < now.n; b++) store(y + own.row(b) + j, f(load(x + own.row(b) + j), by));
    }
}

// ------------------------------------------------------------------------------------------------------- there and back

// Whether a layer may write its output over its input: neither it nor the layer below asks for that on the way back.
static bool writes_over(const Layer& below, const Layer& l) {
    const bool of_output = l.kind == ACTIVATION && (l.function == RELU || l.function == SIGMOID || l.function == TANH);
    if (l.kind == LINEAR || l.kind == AFFINE || (l.kind == ACTIVATION && !of_output)) return false;
    switch (below.kind) {
        case LINEAR:
        case AFFINE:
        case DROPOUT:
        case SCALE:
        case SHIFT: return true;
        case ACTIVATION: return below.function == RELU && l.kind == DROPOUT;  // asks what is positive where δ is not 0
    }
    return false;
}

// How many numbers a layer keeps for the way back beside its output, for n rows.
static long kept_by(const Layer& l, long n) {
    switch (l.kind) {
        case LINEAR: return few(l) ? l.out * padded(l.in) : 0;
        case BATCH_NORM: return 3 * padded(l.out);
        case FEATURE_NORM:
        case ROOT_MEAN_SQUARE: return padded(n * l.groups);
        case DROPOUT: return n * padded(l.out);
    }
    return 0;
}

static void forward(const Layer& l, const Real* x, Real* y, Real* kept, const Now& now) {
    const long ld = padded(l.out);
    switch (l.kind) {
        case LINEAR: return linear(l, x, y, kept, now);
        case ACTIVATION:
            return with_function(l, [&](auto f, auto) { now.each_stretch(ld, [&](Range r) { map(x, y, r, f); }); });
        case BATCH_NORM: return batch_norm(l, x, y, kept, now);
        case FEATURE_NORM:
        case ROOT_MEAN_SQUARE: return feature_norm(l, x, y, kept, now);
        case AFFINE: return affine(l, x, y, now);
        case DROPOUT:
            if (now.training) return dropout(l, x, y, kept, now);
            if (x == y) return;
            return now.each_stretch(ld, [&](Range r) { map(x, y, r, [](Vec h) { return h; }); });
        case SCALE: return by_columns(l, x, y, now, [](Vec h, Vec by) { return h * by; });
        case SHIFT: return by_columns(l, x, y, now, [](Vec h, Vec by) { return h + by; });
    }
}

// δ of the output `y` of a layer becomes δ of its input `x`: in place, but for the linear layer, which fills `below`.
static void backward(const Layer& l, Real* delta, Real* below, const Real* x, const Real* y, Real* kept,
                     Real* turned, const Now& now) {
    const long ld = padded(l.out);
    switch (l.kind) {
        case LINEAR: return linear_back(l, delta, x, below, kept, turned, now);
        case ACTIVATION:
            return with_function(l, [&](auto, auto slope) {
                now.each_stretch(ld, [&](Range r) {
                    for (long i = r.begin; i < r.end; i += L)
                        store(delta + i, load(delta + i) * slope(load(x + i), load(y + i)));
                });
            });
        case BATCH_NORM: return batch_norm_back(l, delta, y, kept, now);
        case FEATURE_NORM:
        case ROOT_MEAN_SQUARE: return feature_norm_back(l, delta, y, kept, now);
        case AFFINE: return affine_back(l, delta, x, now);
        case DROPOUT:
            return now.each_stretch(ld, [&](Range r) {
                map2(delta, kept, delta, r, [](Vec d, Vec by) { return d * by; });
            });
        case SCALE: return by_columns(l, delta, delta, now, [](Vec d, Vec by) { return d * by; });
        case SHIFT: return;
    }
}
