// Attention of many heads.
#pragma once
#include "samples.h"

// softmax((QKᵀ + absent)/√d) V per head; a row of x is q, k, v of all heads, a row of y the heads' mixtures. A head's
// rows are read in whole vectors where they lie: the lanes behind its d numbers are another head's, and are not kept.
struct Heads {
    long T, E, heads, d, dp, Tp, ldx, ldy;
    Real scale;
    explicit Heads(const Step& s)
        : T(s.rows), E(s.layer.out), heads(s.layer.groups), d(E / heads), dp(padded(d)), Tp(padded(T)),
          ldx(padded(s.layer.in)), ldy(padded(E)), scale(Real(1) / std::sqrt(Real(d))) {}
    long weights() const { return heads * T * Tp; }  // kept of a sample
    long scratch() const { return padded(d) * Tp + T * dp + T * Tp + Tp; }

    void columns(const Real* x, long ld, Real* to) const {  // a head's [T, d] as [d, Tp]
        for (long t = 0; t < T; t += L)
            for (long i = 0; i < d; i += L) {
                Vec rows[L];
#pragma GCC unroll 16
                for (long r = 0; r < L; r++) rows[r] = t + r < T ? load(x + (t + r) * ld + i) : Vec{};
                transpose_square(rows);
#pragma GCC unroll 16
                for (long r = 0; r < L; r++) store(to + (i + r) * Tp + t, rows[r]);
            }
    }

    void put_rows(const Real* from, Real* to, long ld) const {
        for (long t = 0; t < T; t++)
            for (long i = 0; i < d; i += L) put(to + t * ld + i, load(from + t * dp + i), d - i);
    }

    void softmax(Real* scores) const {
        for (long i = 0; i < T; i++) {
            Real* s = scores + i * Tp;
            Vec most = load(s);
            for (long j = L; j < Tp; j += L) most = larger(load(s + j), most);
            const Real top = largest(most);
            Vec total{};
            for (long j = 0; j < Tp; j += L) {
                const Vec e = exponential((load(s + j) - top) * scale);
                store(s + j, e);
                total += e;
            }
            const Real by = Real(1) / sum(total);
            for (long j = 0; j < Tp; j += L) store(s + j, load(s + j) * by);
        }
    }
};

static void attention(const Step& s, const Real* x, Real* y, Real* kept, Real* scratch, const uint8_t* mask, long samples) {
    const Heads a(s);
    Real *columns = scratch, *mixed = columns + padded(a.d) * a.Tp, *absent = mixed + a.T * a.dp;
    const Real lowest = std::numeric_limits<Real>::lowest();
    for (long b = 0; b < samples; b++) {
        for (long t = 0; t < a.Tp; t++) absent[t] = t >= a.T ? lowest : !mask || mask[b * a.T + t] ? 0 : lowest / 2;
        for (long h = 0; h < a.heads; h++) {
            const Real* q = x + b * a.T * a.ldx + h * a.d;
            Real* weights = kept + b * a.weights() + h * a.T * a.Tp;
            a.columns(q + a.E, a.ldx, columns);
            product(a.T, a.Tp, a.d, Left{q, a.ldx, 1}, columns, a.Tp, weights, a.Tp, absent);
            a.softmax(weights);
            product(a.T, a.dp, a.T, Left{weights, a.Tp, 1}, q + 2 * a.E, a.ldx, mixed, a.dp, nullptr);
            a.put_rows(mixed, y + b * a.T * a.ldy + h * a.d, a.ldy);
        }
    }
    clear_padding(y, samples * a.T, a.E);
}

// dV = Pᵀδ, dP = δVᵀ, dS = P(dP − Σ dP·P)/√d, dQ = dS K, dK = dSᵀQ.
static void attention_back(const Step& s, const Real* delta, Real* below, const Real* x, const Real* kept, Real* scratch,
                           long samples) {
    const Heads a(s);
    Real *columns = scratch, *found = columns + padded(a.d) * a.Tp, *slopes = found + a.T * a.dp;
    for (long b = 0; b < samples; b++)
        for (long h = 0; h < a.heads; h++) {
            const Real *q = x + b * a.T * a.ldx + h * a.d, *own = delta + b * a.T * a.ldy + h * a.d;
            const Real* weights = kept + b * a.weights() + h * a.T * a.Tp;
            Real* to = below + b * a.T * a.ldx + h * a.d;
            a.columns(q + 2 * a.E, a.ldx, columns);
            product(a.T, a.Tp, a.d, Left{own, a.ldy, 1}, columns, a.Tp, slopes, a.Tp, nullptr);
            for (long i = 0; i < a.T; i++) {
                const Real* p = weights + i * a.Tp;
                Real* row = slopes + i * a.Tp;
                const Real mean = along(row, p, a.Tp);
                for (long j = 0; j < a.Tp; j += L) store(row + j, (load(row + j) - mean) * load(p + j) * a.scale);
            }
            product(a.T, a.dp, a.T, Left{slopes, a.Tp, 1}, q + a.E, a.ldx, found, a.dp, nullptr);
            a.put_rows(found, to, a.ldx);
            product(a.T, a.dp, a.T, Left{slopes, 1, a.Tp}, q, a.ldx, found, a.dp, nullptr);
            a.put_rows(found, to + a.E, a.ldx);
            product(a.T, a.dp, a.T, Left{weights, 1, a.Tp}, own, a.ldy, found, a.dp, nullptr);
            a.put_rows(found, to + 2 * a.E, a.ldx);
        }
    clear_padding(below, samples * a.T, 3 * a.E);
}
