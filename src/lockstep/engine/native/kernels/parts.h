// Layers that see more than a row: attention, convolution over images, recurrence. For ONE member and some
// whole samples, forward and back; what is padded is 0 in every δ, as in layers.h.
#pragma once
#include <algorithm>
#include <vector>

#include "layers.h"

enum Cell : int32_t { ELMAN_TANH, ELMAN_RELU, LSTM, GRU };

// A layer and the shape of a sample: `rows` there are of it (steps, pixels) before the layer, and `rows_out` after.
struct Step {
    Layer layer;
    int64_t rows, rows_out, height, width, kernel, pool;
    int64_t unpadded;  // its input comes as it is
};

static inline void put(Real* to, Vec v, long room) {  // as much of v as there is room for; what is behind stays
    if (room >= L) return store(to, v);
    store(to, counting() < splat(Real(room)) ? v : load(to));
}

static inline void clear_padding(Real* rows, long n, long width) {
    const long ld = padded(width);
    for (long b = 0; b < n && width < ld; b++)
        for (long j = width; j < ld; j++) rows[b * ld + j] = 0;
}

// ---------------------------------------------------------------------------------------------------------- attention

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

// ------------------------------------------------------------------------------------------------------------- images

// A convolution whose output has the size of its input, and the maximum over squares of `pool` pixels of it; channels are
// innermost. Each image is laid into a frame of zeros, so that a place of the window is one distance from a pixel,
// wherever that is; pixels of the frame are worked out with the others, and not looked at.
struct Windows {
    long h, w, k, C, O, pixels, window, frame, most, pool, rows, columns, ldx, below, ldy;
    explicit Windows(const Step& s)
        : h(s.height), w(s.width), k(s.kernel), C(s.layer.in), O(s.layer.out), pixels(h * w), window(k * k * C),
          frame(w + k - 1), most(h * frame), pool(s.pool), rows(h / pool), columns(w / pool), ldx(s.unpadded ? C : padded(C)),
          below(padded(C)), ldy(padded(O)) {}
    long framed(long channels) const { return (h + k) * frame * channels + L; }
    long outputs() const { return rows * columns * ldy; }  // of an image, and kept of it: which pixel of a square it was
    long scratch() const {
        return framed(C) + framed(O) + most * std::max(below, ldy) + k * k * below * O + window * ldy;
    }

    // Each place of the window of an image with so many channels, as the distance from the window's first pixel.
    std::vector<long> distances(long channels) const {
        std::vector<long> found;
        for (long a = 0; a < k; a++)
            for (long b = 0; b < k; b++)
                for (long c = 0; c < channels; c++) found.push_back((a * frame + b) * channels + c);
        return found;
    }

    // An image of `channels` within its frame. Its pixels are ld numbers from each other, its rows `line`. Whole vectors
    // in ascending order: what one writes too much, the next replaces.
    void lay(const Real* image, long channels, long ld, long line, Real* to) const {
        const long reach = k / 2, ends = frame - w - reach;
        const auto nothing = [&](long count) {
            std::memset(to, 0, count * channels * sizeof(Real));
            to += count * channels;
        };
        nothing(reach * frame);
        for (long i = 0; i < h; i++) {
            nothing(reach);
            const Real* from = image + i * line;
            for (long j = 0; j < w; j++, from += ld, to += channels)
                for (long c = 0; c < channels; c += L) store(to + c, load(from + c));
            nothing(ends);
        }
        nothing((k - reach) * frame);
    }

    // f(first pixel of a square in the frame, place of its maximum among the outputs), vector by vector.
    template <class F>
    void squares(F f) const {
        for (long i = 0; i < rows; i++)
            for (long j = 0; j < columns; j++)
                for (long c = 0; c < ldy; c += L)
                    f((i * frame + j) * pool * ldy + c, (i * columns + j) * ldy + c);
    }
    long in_square(long n) const { return (n / pool * frame + n % pool) * ldy; }

    void largest(const Real* framed, Real* y, Real* which) const {  // NaN is
        squares([=](long first, long place) {
            Vec best = load(framed + first), at{};
            for (long n = 1; n < pool * pool; n++) {
                const Vec now = load(framed + first + in_square(n));
                const auto better = (now > best) | (now != now);
                best = better ? now : best;
                at = better ? splat(Real(n)) : at;
            }
            store(y + place, best);
            store(which + place, at);
        });
    }

    void spread(const Real* delta, const Real* which, Real* framed) const {
        std::memset(framed, 0, most * ldy * sizeof(Real));
        squares([=](long first, long place) {
            const Vec d = load(delta + place), at = load(which + place);
            for (long n = 0; n < pool * pool; n++)
                store(framed + first + in_square(n), at == splat(Real(n)) ? d : Vec{});
        });
    }
};

static void convolution(const Step& s, const Real* x, Real* y, Real* kept, Real* scratch, long samples, const Now& now) {
    const Windows c(s);
    const std::vector<long> steps = c.distances(c.C);
    Real *image = scratch, *out = image + c.framed(c.C);
    for (long b = 0; b < samples; b++) {
        c.lay(x + b * c.pixels * c.ldx, c.C, c.ldx, c.w * c.ldx, image);
        product(c.most, c.ldy, c.window, Windowed{image, c.C, steps.data()}, now.params + s.layer.weight, c.ldy, out, c.ldy,
                s.layer.bias < 0 ? nullptr : now.params + s.layer.bias);
        c.largest(out, y + b * c.outputs(), kept + b * c.outputs());
    }
}

// dW is the product of the windows and δ, and δ_below the convolution of δ with the weights turned round.
static void convolution_back(const Step& s, const Real* delta, Real* below, const Real* x, const Real* kept, Real* scratch,
                             long samples, const Now& now) {
    const Windows c(s);
    const std::vector<long> places = c.distances(c.C), steps = c.distances(c.O);
    Real *image = scratch, *deltas = image + c.framed(c.C), *out = deltas + c.framed(c.O);
    Real *turned = out + c.most * std::max(c.below, c.ldy), *own = turned + c.k * c.k * c.below * c.O;
    const Real* weight = now.params + s.layer.weight;
    Real* grads = now.grads + s.layer.weight;
    for (long place = 0; place < c.k * c.k && !s.layer.lowest; place++)  // [k·k, C, O] becomes [k·k turned round, O, C]
        for (long o = 0; o < c.O; o++)
            for (long i = 0; i < c.below; i++)
                turned[((c.k * c.k - 1 - place) * c.O + o) * c.below + i] = i < c.C ? weight[(place * c.C + i) * c.ldy + o] : 0;
    for (long b = 0; b < samples; b++) {
        c.lay(x + b * c.pixels * c.ldx, c.C, c.ldx, c.w * c.ldx, image);
        c.spread(delta + b * c.outputs(), kept + b * c.outputs(), out);
        product(c.window, c.ldy, c.most, TurnedWindows{image, places.data(), c.C}, out, c.ldy, b ? own : grads, c.ldy,
                nullptr);
        if (b) map2(own, grads, grads, {0, c.window * c.ldy}, [](Vec one, Vec all) { return one + all; });
        if (s.layer.lowest) continue;
        c.lay(out, c.O, c.ldy, c.frame * c.ldy, deltas);
        product(c.most, c.below, c.k * c.k * c.O, Windowed{deltas, c.O, steps.data()}, turned, c.below, out, c.below, nullptr);
        for (long i = 0; i < c.h; i++)
            std::memcpy(below + (b * c.h + i) * c.w * c.below, out + i * c.frame * c.below, c.w * c.below * sizeof(Real));
    }
    for (long j = 0; s.layer.bias >= 0 && j < c.ldy; j += L)
        store(now.grads + s.layer.bias + j, down(delta + j, samples * c.rows * c.columns, c.ldy));
}

// --------------------------------------------------------------------------------------------------------- recurrence

// Both directions, one after the other; `lockstep/network/layers/recurrent.py` has the formulas. A row of x is the
// input's part of the gates of all directions, a row of y their states. What a step keeps of a sample: its state, then
// the gates as they came out of their functions, then LSTM's c or GRU's U h + b, each in `Hp` numbers.
struct Recurrence {
    long T, D, H, G, Hp, Gp, gates, slots, row, ldx, ldy;
    Cell cell;
    explicit Recurrence(const Step& s)
        : T(s.rows), D(s.layer.groups), H(s.layer.out / D), G(s.layer.in / D), Hp(padded(H)), Gp(padded(G)), gates(G / H),
          slots(gates == 1 ? 1 : gates + 2), row(slots * Hp), ldx(padded(s.layer.in)), ldy(padded(s.layer.out)),
          cell(Cell(s.layer.function)) {}
    long kept() const { return D * T * row; }  // of a sample
    long scratch(long samples) const { return row + samples * (Gp + 2 * Hp + T * Gp) + G * Hp + 2 * Gp + 4 * L; }
    long step(long d, long i) const { return d ? T - 1 - i : i; }
};

static void recurrence(const Step& s, const Real* x, Real* y, Real* kept, Real* scratch, const uint8_t* mask,
                       long samples, const Now& now) {
    const Recurrence r(s);
    const long H = r.H, Hp = r.Hp;
    Real *nothing = scratch, *own = nothing + r.row;
    std::fill(nothing, nothing + r.row, Real(0));
    for (long d = 0; d < r.D; d++) {
        const Real* weight = now.params + s.layer.weight + d * H * r.Gp;
        const Real* bias = now.params + s.layer.bias + d * r.G;
        Real* states = kept + d * r.T * samples * r.row;
        for (long i = 0; i < r.T; i++) {
            const long t = r.step(d, i), stride = i ? r.row : 0;
            const Real* before = i ? states + (i - 1) * samples * r.row : nothing;
            product(samples, r.Gp, H, Left{before, stride, 1}, weight, r.Gp, own, r.Gp, bias);
            for (long b = 0; b < samples; b++) {
                const long place = b * r.T + t;
                const Real *in = x + place * r.ldx + d * r.G, *u = own + b * r.Gp, *old = before + b * stride;
                Real* to = states + (i * samples + b) * r.row;
                if (mask && !mask[place]) {
                    std::memcpy(to, old, r.row * sizeof(Real));
                } else {
                    for (long j = 0; j < Hp; j += L) {
                        const auto gate = [=](long g) { return load(in + g * H + j) + load(u + g * H + j); };
                        const auto keep = [=](long slot, Vec v) { store(to + slot * Hp + j, v); };
                        switch (r.cell) {
                            case ELMAN_TANH: keep(0, hyperbolic_tangent(gate(0))); break;
                            case ELMAN_RELU: keep(0, larger(Vec{}, gate(0))); break;
                            case LSTM: {
                                const Vec in_ = sigmoid(gate(0)), forget = sigmoid(gate(1)), out = sigmoid(gate(3));
                                const Vec g = hyperbolic_tangent(gate(2)), c = forget * load(old + 5 * Hp + j) + in_ * g;
                                keep(0, out * hyperbolic_tangent(c));
                                keep(1, in_), keep(2, forget), keep(3, g), keep(4, out), keep(5, c);
                                break;
                            }
                            case GRU: {
                                const Vec reset = sigmoid(gate(0)), z = sigmoid(gate(1)), un = load(u + 2 * H + j);
                                const Vec n = hyperbolic_tangent(load(in + 2 * H + j) + reset * un);
                                keep(0, n + z * (load(old + j) - n));
                                keep(1, reset), keep(2, z), keep(3, n), keep(4, un);
                            }
                        }
                    }
                }
                std::memcpy(y + place * r.ldy + d * H, to, H * sizeof(Real));
            }
        }
    }
    clear_padding(y, samples * r.T, s.layer.out);
}

static void recurrence_back(const Step& s, const Real* delta, Real* below, const Real* kept, Real* scratch,
                            const uint8_t* mask, long samples, const Now& now) {
    const Recurrence r(s);
    const long H = r.H, Hp = r.Hp, Gp = r.Gp;
    Real *nothing = scratch, *carried = nothing + r.row, *dh = carried + samples * Gp, *dc = dh + samples * Hp;
    Real *turned = dc + samples * Hp, *to_x = turned + r.G * Hp, *slopes = to_x + Gp + L;
    std::fill(nothing, nothing + r.row, Real(0));
    for (long d = 0; d < r.D; d++) {
        const Real *weight = now.params + s.layer.weight + d * H * Gp, *states = kept + d * r.T * samples * r.row;
        transpose(H, r.G, weight, Gp, turned, Hp);
        for (long g = 0; g < r.G; g++)
            for (long j = H; j < Hp; j++) turned[g * Hp + j] = 0;
        std::fill(dh, dh + 2 * samples * Hp, Real(0));
        for (long i = r.T - 1; i >= 0; i--) {
            const long t = r.step(d, i);
            for (long b = 0; b < samples; b++) {
                const long place = b * r.T + t;
                const Real *at = states + (i * samples + b) * r.row, *old = i ? at - samples * r.row : nothing;
                const Real* from = delta + place * r.ldy + d * H;
                Real *dp = slopes + (i * samples + b) * Gp, *dx = r.cell == GRU ? to_x : dp, *dhb = dh + b * Hp;
                for (long j = 0; j < H; j++) dhb[j] += from[j];
                if (mask && !mask[place]) {
                    std::fill(dp, dp + Gp, Real(0));
                    std::fill(dx, dx + Gp, Real(0));
                } else {
                    for (long j = 0; j < Hp; j += L) {  // of gate after gate: a gate's padding is the next one's place
                        const auto slot = [=](long n) { return load(at + n * Hp + j); };
                        const Vec now_ = load(dhb + j);
                        switch (r.cell) {
                            case ELMAN_TANH: store(dhb + j, now_ * (Real(1) - slot(0) * slot(0))); break;
                            case ELMAN_RELU: store(dhb + j, select(slot(0), now_, Vec{})); break;
                            case LSTM: {
                                const Vec c = hyperbolic_tangent(slot(5)), out = slot(4);
                                const Vec to_c = load(dc + b * Hp + j) + now_ * out * (Real(1) - c * c);
                                store(dhb + j, now_ * c * out * (Real(1) - out));
                                store(dc + b * Hp + j, to_c);
                                break;
                            }
                            case GRU: break;
                        }
                    }
                    for (long g = 0; g < r.gates; g++)
                        for (long j = 0; j < Hp; j += L) {
                            const auto slot = [=](long n) { return load(at + n * Hp + j); };
                            const Vec one = splat(1), now_ = load(dhb + j);
                            Vec here = now_, there;
                            if (r.cell == LSTM) {
                                const Vec to_c = load(dc + b * Hp + j), in = slot(1), forget = slot(2), c = slot(3);
                                here = g == 0   ? to_c * c * in * (one - in)
                                       : g == 1 ? to_c * load(old + 5 * Hp + j) * forget * (one - forget)
                                       : g == 2 ? to_c * in * (one - c * c)
                                                : now_;
                            }
                            there = here;
                            if (r.cell == GRU) {
                                const Vec reset = slot(1), z = slot(2), n = slot(3);
                                const Vec to_n = now_ * (one - z) * (one - n * n);
                                there = g == 0   ? to_n * slot(4) * reset * (one - reset)
                                        : g == 1 ? now_ * (load(old + j) - n) * z * (one - z)
                                                 : to_n;
                                here = g == 2 ? to_n * reset : there;
                            }
                            put(dx + g * H + j, there, H - j);
                            if (r.cell == GRU) put(dp + g * H + j, here, H - j);
                        }
                    std::fill(dp + r.G, dp + Gp, Real(0));
                    for (long j = 0; j < Hp; j += L) {  // straight to the state before, past the product
                        if (r.cell == LSTM)
                            store(dc + b * Hp + j, load(dc + b * Hp + j) * load(at + 2 * Hp + j));
                        store(dhb + j, r.cell == GRU ? load(dhb + j) * load(at + 2 * Hp + j) : Vec{});
                    }
                }
                std::memcpy(below + place * r.ldx + d * r.G, dx, r.G * sizeof(Real));
            }
            if (i == 0) break;
            product(samples, Hp, r.G, Left{slopes + i * samples * Gp, Gp, 1}, turned, Hp, carried, Hp, nullptr);
            map2(carried, dh, dh, {0, samples * Hp}, [](Vec a, Vec b) { return a + b; });
        }
        product(H, Gp, (r.T - 1) * samples, Left{states, 1, r.row}, slopes + samples * Gp, Gp,
                now.grads + s.layer.weight + d * H * Gp, Gp, nullptr);
        for (long j = 0; j < Gp; j += L) {
            put(now.grads + s.layer.bias + d * r.G + j, down(slopes + j, r.T * samples, Gp), r.G - j);
        }
    }
    clear_padding(below, samples * r.T, s.layer.in);
}
