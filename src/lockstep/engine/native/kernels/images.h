// Convolution over images.
#pragma once
#include <algorithm>
#include <vector>

#include "samples.h"

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
    if (s.layer.bias >= 0)
        sum_down(delta, {0, c.ldy, 0, c.ldy}, samples * c.rows * c.columns, now.grads + s.layer.bias);
}
