// Recurrence: Elman's, LSTM, GRU.
#pragma once
#include <algorithm>

#include "samples.h"

enum Cell : int32_t { ELMAN_TANH, ELMAN_RELU, LSTM, GRU };

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
        Real* to_bias = now.grads + s.layer.bias + d * r.G;
        down({0, Gp, 0, Gp}, r.T * samples, [=](long at, long) { return load(slopes + at); },
             [=](long j, Vec sum) { put(to_bias + j, sum, r.G - j); });
    }
    clear_padding(below, samples * r.T, s.layer.in);
}
