// The layers of a chain for ONE member, forward and back, as the text has them; lockstep/engine/backprop says the same
// in PyTorch beside the formulas. A batch is n rows of `padded(width)` numbers; what is padded is 0 in every δ.
#pragma once
#include <cstring>

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
    int64_t groups, place;      // of a norm; which of the keys is the dropout's
    double eps, momentum, a, s;
    void *first, *second;       // buffers of all members: running mean and variance; threshold and scale; a row
    int64_t* count;             // batches seen [K]; null: the running numbers stay as they are
    int64_t stride, wide;       // from one member's buffer to the next; whether there is a number for each column
};

// What a layer needs beside its input: whose turn it is, and where things lie.
struct Now {
    long member, n;
    bool training;
    const Real* params;
    Real* grads;
    const int32_t* keys;
    Team team;
    long first = 0;  // where in the batch the n rows begin

    Range rows() const { return team.share(n); }
    Range columns(long ld) const {  // whole vectors of them
        const Range r = team.share(ld / L);
        return {r.begin * L, r.end * L};
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

static inline Vec down(const Real* x, long n, long ld) {  // the sum of n rows
    Vec s{};
    for (long b = 0; b < n; b++) s += load(x + b * ld);
    return s;
}

static inline Vec down(const Real* x, const Real* y, long n, long ld) {
    Vec s{};
    for (long b = 0; b < n; b++) s += load(x + b * ld) * load(y + b * ld);
    return s;
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

static void batch_norm(const Layer& l, const Real* x, Real* y, Real* rstd, const Now& now) {
    const long n = now.n, ld = padded(l.out);
    Real* mean_of_all = static_cast<Real*>(l.first) + now.member * l.stride;
    Real* var_of_all = static_cast<Real*>(l.second) + now.member * l.stride;
    const Range own = now.columns(ld);
    for (long j = own.begin; j < own.end; j += L) {
        Vec mean{}, var{};
        if (now.training) {
            mean = down(x + j, n, ld) / Real(n);
            for (long b = 0; b < n; b++) {
                const Vec c = load(x + b * ld + j) - mean;
                var += c * c;
            }
            var /= Real(n);
        }
        for (long i = 0; i < L && j + i < l.out; i++) {
            Real &running_mean = mean_of_all[j + i], &running_var = var_of_all[j + i];
            if (now.training && l.count) {
                running_mean += Real(l.momentum) * (mean[i] - running_mean);
                running_var += Real(l.momentum) * (var[i] * (Real(n) / Real(n - 1)) - running_var);
            } else if (!now.training) {
                mean[i] = running_mean;
                var[i] = running_var;
            }
        }
        const Vec scale = Real(1) / root(var + Real(l.eps));
        store(rstd + j, scale);
        for (long b = 0; b < n; b++) store(y + b * ld + j, (load(x + b * ld + j) - mean) * scale);
    }
    if (now.training && l.count && now.team.index == 0) l.count[now.member]++;
}

static void batch_norm_back(const Layer& l, Real* delta, const Real* x_hat, const Real* rstd, const Now& now) {
    const long n = now.n, ld = padded(l.out);
    const Range own = now.columns(ld);
    for (long j = own.begin; j < own.end; j += L) {
        const Vec mean = down(delta + j, n, ld) / Real(n), by = down(delta + j, x_hat + j, n, ld) / Real(n);
        const Vec scale = load(rstd + j);
        for (long b = 0; b < n; b++) {
            Real* d = delta + b * ld + j;
            store(d, (load(d) - mean - load(x_hat + b * ld + j) * by) * scale);
        }
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
    const Range own = now.columns(ld);
    for (long j = own.begin; j < own.end; j += L) {
        const Vec gain = load(now.params + l.weight + j), shift = l.bias < 0 ? Vec{} : load(now.params + l.bias + j);
        for (long b = 0; b < now.n; b++) store(y + b * ld + j, load(x + b * ld + j) * gain + shift);
    }
}

static void affine_back(const Layer& l, Real* delta, const Real* x_hat, const Now& now) {
    const long ld = padded(l.out);
    const Range own = now.columns(ld);
    for (long j = own.begin; j < own.end; j += L) {
        if (l.bias >= 0) store(now.grads + l.bias + j, down(delta + j, now.n, ld));
        store(now.grads + l.weight + j, down(delta + j, x_hat + j, now.n, ld));
        const Vec gain = load(now.params + l.weight + j);
        for (long b = 0; b < now.n; b++) store(delta + b * ld + j, load(delta + b * ld + j) * gain);
    }
}

// ---------------------------------------------------------------------------------------------------- the other layers

static void linear(const Layer& l, const Real* x, Real* y, const Now& now) {
    const long ld = padded(l.out);
    const Range own = now.columns(ld);
    product(now.n, own.end - own.begin, l.in, Left{x, padded(l.in), 1}, now.params + l.weight + own.begin, ld, y + own.begin,
            ld, l.bias < 0 ? nullptr : now.params + l.bias + own.begin);
}

// dW = δᵀh (kept as its transpose, as W is), db = Σδ, δ_below = δW, which needs W the other way round.
static void linear_back(const Layer& l, const Real* delta, const Real* h, Real* below, Real* turned, const Now& now) {
    const long ld = padded(l.out), ld_below = padded(l.in);
    const Range own = now.columns(ld), to = {own.begin, own.end < l.out ? own.end : l.out};
    product(l.in, own.end - own.begin, now.n, Left{h, 1, ld_below}, delta + own.begin, ld, now.grads + l.weight + own.begin,
            ld, nullptr);
    for (long j = own.begin; l.bias >= 0 && j < own.end; j += L)
        store(now.grads + l.bias + j, down(delta + j, now.n, ld));
    if (l.lowest) return;
    transpose(l.in, to.end - to.begin, now.params + l.weight + to.begin, ld, turned + to.begin * ld_below, ld_below);
    for (long k = to.begin; k < to.end; k++)
        for (long i = l.in; i < ld_below; i++) turned[k * ld_below + i] = 0;
    now.team.meet();
    const Range under = now.columns(ld_below);
    product(now.n, under.end - under.begin, l.out, Left{delta, ld, 1}, turned + under.begin, ld_below, below + under.begin,
            ld_below, nullptr);
}

static void dropout(const Layer& l, const Real* x, Real* y, Real* kept, const Now& now) {
    const long ld = padded(l.out);
    const int32_t threshold = static_cast<const int32_t*>(l.first)[now.member];
    const Real scale = static_cast<const Real*>(l.second)[now.member];
    const uint32_t key = uint32_t(now.keys[l.place]), folded = key ^ (key >> 16);
    Bits lanes;
    for (long i = 0; i < L; i++) lanes[i] = uint32_t(i);
    const Range own = now.rows();
    for (long b = own.begin; b < own.end; b++)
        for (long j = 0; j < ld; j += L) {
            const SignedBits drawn = reinterpret_cast<SignedBits>(hashed(lanes + uint32_t((now.first + b) * l.out + j), folded));
            const SignedBits there = drawn >= threshold;  // −1 where it is kept
            const Vec r = __builtin_convertvector(there, Vec) * -scale;
            store(kept + b * ld + j, r);
            store(y + b * ld + j, load(x + b * ld + j) * r);
        }
}

template <class F>
static void by_columns(const Layer& l, const Real* x, Real* y, const Now& now, F f) {
    const long ld = padded(l.out);
    const Real* row = static_cast<const Real*>(l.first) + now.member * l.stride;
    const Range own = now.columns(ld);
    for (long j = own.begin; j < own.end; j += L) {
        Vec by{};
        for (long i = 0; i < L && j + i < l.out; i++) by[i] = row[l.wide ? j + i : 0];
        for (long b = 0; b < now.n; b++) store(y + b * ld + j, f(load(x + b * ld + j), by));
    }
}

// ------------------------------------------------------------------------------------------------------- there and back

// How many numbers a layer keeps for the way back beside its output, for n rows.
static long kept_by(const Layer& l, long n) {
    switch (l.kind) {
        case BATCH_NORM: return padded(l.out);
        case FEATURE_NORM:
        case ROOT_MEAN_SQUARE: return padded(n * l.groups);
        case DROPOUT: return n * padded(l.out);
    }
    return 0;
}

static void forward(const Layer& l, const Real* x, Real* y, Real* kept, const Now& now) {
    const Range all = now.columns(now.n * padded(l.out));  // of all rows as one
    switch (l.kind) {
        case LINEAR: return linear(l, x, y, now);
        case ACTIVATION: return with_function(l, [=](auto f, auto) { map(x, y, all, f); });
        case BATCH_NORM: return batch_norm(l, x, y, kept, now);
        case FEATURE_NORM:
        case ROOT_MEAN_SQUARE: return feature_norm(l, x, y, kept, now);
        case AFFINE: return affine(l, x, y, now);
        case DROPOUT:
            if (now.training) return dropout(l, x, y, kept, now);
            return map(x, y, all, [](Vec h) { return h; });
        case SCALE: return by_columns(l, x, y, now, [](Vec h, Vec by) { return h * by; });
        case SHIFT: return by_columns(l, x, y, now, [](Vec h, Vec by) { return h + by; });
    }
}

// δ of the output `y` of a layer becomes δ of its input `x`: in place, but for the linear layer, which fills `below`.
static void backward(const Layer& l, Real* delta, Real* below, const Real* x, const Real* y, const Real* kept,
                     Real* turned, const Now& now) {
    const Range all = now.columns(now.n * padded(l.out));
    switch (l.kind) {
        case LINEAR: return linear_back(l, delta, x, below, turned, now);
        case ACTIVATION:
            return with_function(l, [=](auto, auto slope) {
                for (long i = all.begin; i < all.end; i += L)
                    store(delta + i, load(delta + i) * slope(load(x + i), load(y + i)));
            });
        case BATCH_NORM: return batch_norm_back(l, delta, y, kept, now);
        case FEATURE_NORM:
        case ROOT_MEAN_SQUARE: return feature_norm_back(l, delta, y, kept, now);
        case AFFINE: return affine_back(l, delta, x, now);
        case DROPOUT: return map2(delta, kept, delta, all, [](Vec d, Vec r) { return d * r; });
        case SCALE: return by_columns(l, delta, delta, now, [](Vec d, Vec by) { return d * by; });
        case SHIFT: return;
    }
}
