// Losses and where backpropagation starts: the loss, and δ = ∂L/∂output of n rows of C outputs for ONE member.
#pragma once
#include <algorithm>
#include <vector>

#include "vectors.h"

enum Loss : int32_t { CROSS_ENTROPY, BINARY_CROSS_ENTROPY, MSE, MAE, HUBER, QUANTILE };

// Null where the loss has no such number. `weights` [C], the others one number, `scale` one or `C`.
struct LossNumbers {
    const Real *weights, *smoothing, *delta, *quantile, *scale;
    long scales;
};

// a log p, a being 1/n at the true class (weighted, smoothed); δ = p Σa − a.
static Real cross_entropy(const Real* z, const int64_t* target, const int64_t* rows, Real* delta, long n, long C,
                          const LossNumbers& by) {
    const long ld = padded(C);
    Real total = Real(n);
    if (by.weights) {
        total = 0;
        for (long b = 0; b < n; b++) total += by.weights[target[rows[b]]];
    }
    const Real e = by.smoothing ? *by.smoothing : Real(0);
    Real loss = 0;
    for (long b = 0; b < n; b++) {
        const Real* row = z + b * ld;
        Real* d = delta + b * ld;
        const int64_t y = target[rows[b]];
        Real most = row[0];
        for (long c = 1; c < C; c++) most = row[c] > most ? row[c] : most;
        for (long c = 0; c < ld; c++) d[c] = c < C ? row[c] - most : Real(-200);
        for (long c = 0; c < ld; c += L) store(d + c, exponential(load(d + c)));
        Real all = 0;
        for (long c = 0; c < C; c++) all += d[c];
        const Real log_all = std::log(all) + most, inverse = Real(1) / all;
        const Real true_weight = (by.weights ? by.weights[y] : Real(1)) / total;
        Real sum_a = (1 - e) * true_weight;
        loss -= sum_a * (row[y] - log_all);
        if (e != 0)
            for (long c = 0; c < C; c++) {
                const Real a = e / Real(C) * (by.weights ? by.weights[c] : Real(1)) / total;
                loss -= a * (row[c] - log_all);
                sum_a += a;
            }
        for (long c = 0; c < C; c++) d[c] *= inverse * sum_a;
        d[y] -= (1 - e) * true_weight;
        if (e != 0)
            for (long c = 0; c < C; c++) d[c] -= e / Real(C) * (by.weights ? by.weights[c] : Real(1)) / total;
    }
    return loss;
}

// −Σ a log σ(z) + b log(1 − σ(z)); δ = (a + b) σ(z) − a.
static Real binary_cross_entropy(const Real* z, const Real* target, const int64_t* rows, Real* delta, long n, long C,
                                 const LossNumbers& by) {
    const long ld = padded(C);
    const Real w0 = by.weights ? by.weights[0] : Real(1), w1 = by.weights ? by.weights[1] : Real(1);
    const Real e = by.smoothing ? *by.smoothing : Real(0);
    Real total = 0;
    for (long b = 0; b < n; b++)
        for (long c = 0; c < C; c++) {
            const Real y = target[rows[b] * C + c];
            total += w1 * y + w0 * (1 - y);
        }
    Vec loss{};
    for (long begin = 0, b = 0, c = 0; begin < n * C; begin += L) {  // a vector of them at a time
        Vec x{}, y{}, there{};
        Real* at[L];
        const long count = std::min(L, n * C - begin);
        for (long i = 0; i < count; i++) {
            x[i] = z[b * ld + c], y[i] = target[rows[b] * C + c], there[i] = 1;
            at[i] = delta + b * ld + c;
            if (++c == C) b++, c = 0;
        }
        const Vec one = ((1 - e) * w1 * y + e / 2 * w1) / total * there;
        const Vec zero = ((1 - e) * w0 * (Real(1) - y) + e / 2 * w0) / total * there;
        const Vec small = exponential(select(x, -x, x)), log_of = log_one_plus(small);  // log(1 + e^x) − max(x, 0)
        loss += one * (log_of - smaller(x, Vec{})) + zero * (log_of + larger(x, Vec{}));
        const Vec d = (one + zero) * select(x, splat(1), small) / (small + Real(1)) - one;
        for (long i = 0; i < count; i++) *at[i] = d[i];
    }
    return sum(loss);
}

// What a regression loss makes of an error: its share of the loss, and its slope.
static Real share(Loss name, Real e, const LossNumbers& by, Real* slope) {
    const Real side = Real(e > 0) - Real(e < 0);
    switch (name) {
        case MSE: return *slope = 2 * e, e * e;
        case MAE: return *slope = side, std::abs(e);
        case HUBER: {
            const Real d = by.delta ? *by.delta : Real(1), cut = e < -d ? -d : e > d ? d : e;
            return *slope = cut, cut * (e - cut / 2);
        }
        default: {
            const Real q = by.quantile ? *by.quantile : Real(0.5);
            return *slope = (1 - 2 * q + side) / 2, *slope * e;
        }
    }
}

static Real of_errors(Loss name, const Real* h, const Real* target, const int64_t* rows, Real* delta, long n, long C,
                      const LossNumbers& by) {
    const long ld = padded(C);
    Real loss = 0;
    for (long b = 0; b < n; b++)
        for (long c = 0; c < C; c++) {
            const Real scale = by.scale ? by.scale[by.scales > 1 ? c : 0] : Real(1);
            const Real e = (h[b * ld + c] - target[rows[b] * C + c]) / scale;
            Real slope;
            loss += share(name, e, by, &slope);
            delta[b * ld + c] = slope / (scale * Real(n * C));
        }
    return loss / Real(n * C);
}

static Real loss_and_delta(Loss name, const Real* z, const void* target, const int64_t* rows, Real* delta, long n,
                           long C, const LossNumbers& by) {
    const Real* real = static_cast<const Real*>(target);
    std::memset(delta, 0, n * padded(C) * sizeof(Real));
    switch (name) {
        case CROSS_ENTROPY: return cross_entropy(z, static_cast<const int64_t*>(target), rows, delta, n, C, by);
        case BINARY_CROSS_ENTROPY: return binary_cross_entropy(z, real, rows, delta, n, C, by);
        default: return of_errors(name, z, real, rows, delta, n, C, by);
    }
}
