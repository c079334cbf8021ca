// Vectors of numbers as the compiler has them, and the few functions of a number that layers need.
#pragma once
#include <cmath>
#include <cstdint>
#include <limits>

#ifndef REAL
#define REAL float
#endif
#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif

using Real = REAL;
constexpr long L = VECTOR_BYTES / sizeof(Real);  // numbers in a vector
using Vec = Real __attribute__((vector_size(VECTOR_BYTES)));
using Unaligned = Real __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(Real)), may_alias));
using Bits = uint32_t __attribute__((vector_size(4 * L)));
using SignedBits = int32_t __attribute__((vector_size(4 * L)));

constexpr long padded(long n) { return (n + L - 1) / L * L; }
static inline Vec load(const Real* p) { return *reinterpret_cast<const Unaligned*>(p); }
static inline void store(Real* p, Vec v) { *reinterpret_cast<Unaligned*>(p) = v; }
static inline Vec splat(Real x) { return x - Vec{}; }
static inline Vec larger(Vec a, Vec b) { return a > b ? a : b; }  // b where either is NaN, as below
static inline Vec smaller(Vec a, Vec b) { return a < b ? a : b; }
static inline Vec select(Vec x, Vec positive, Vec other) { return x > Vec{} ? positive : other; }

static inline Real sum(Vec v) {  // by halves
    for (long half = L / 2; half; half /= 2)
        for (long i = 0; i < half; i++) v[i] += v[i + half];
    return v[0];
}

static inline Real largest(Vec v) {
    for (long half = L / 2; half; half /= 2)
        for (long i = 0; i < half; i++) v[i] = v[i] > v[i + half] ? v[i] : v[i + half];
    return v[0];
}

static inline Vec counting() {  // 0, 1, 2 …
    Vec v;
    for (long i = 0; i < L; i++) v[i] = Real(i);
    return v;
}

template <class F>
static inline Vec lane_by_lane(Vec x, F f) {
    for (long i = 0; i < L; i++) x[i] = f(x[i]);
    return x;
}

static inline Vec root(Vec x) {
    for (long i = 0; i < L; i++) x[i] = std::sqrt(x[i]);  // one instruction for all
    return x;
}

// e^x. In float32: e^x = 2^n e^r with |r| ≤ ln2/2, e^r by the polynomial of Cephes' expf, within 2 units in the last place.
static inline Vec exponential(Vec x) {
    if constexpr (sizeof(Real) == 8) {
        return lane_by_lane(x, [](Real v) { return std::exp(v); });
    } else {
        using Integers = int32_t __attribute__((vector_size(4 * L)));
        const Vec held = smaller(larger(x, splat(Real(-87.0))), splat(Real(88.0)));
        const Vec shift = splat(Real(12582912.0));  // 1.5·2²³: adding it rounds to an integer
        const Vec n = (held * Real(1.44269504088896341) + shift) - shift;
        Vec r = held - n * Real(0.693359375);
        r = r - n * Real(-2.12194440e-4);
        Vec p = splat(Real(1.9875691500e-4));
        for (Real c : {Real(1.3981999507e-3), Real(8.3334519073e-3), Real(4.1665795894e-2), Real(1.6666665459e-1),
                       Real(5.0000001201e-1)})
            p = p * r + c;
        p = p * r * r + r + Real(1);
        const Integers power = (__builtin_convertvector(n, Integers) + 127) << 23;
        Vec two_n;
        __builtin_memcpy(&two_n, &power, sizeof power);
        const Vec y = x < splat(Real(-87.0)) ? Vec{} : p * two_n;
        const Vec z = x > splat(Real(88.0)) ? splat(std::numeric_limits<Real>::infinity()) : y;
        return x == x ? z : x;  // NaN stays NaN
    }
}

// log(1 + e) of 0 ≤ e ≤ 1. In float32: 2 artanh(s) with s = e/(2 + e) ≤ 1/3 by its series, within 3 units in the last place.
static inline Vec log_one_plus(Vec e) {
    if constexpr (sizeof(Real) == 8) {
        return lane_by_lane(e, [](Real v) { return std::log1p(v); });
    } else {
        const Vec s = e / (e + Real(2)), square = s * s;
        Vec p = splat(Real(1.0 / 15));
        for (int odd = 13; odd > 0; odd -= 2) p = p * square + Real(1.0) / Real(odd);
        return p * s * Real(2);
    }
}

static inline Vec sigmoid(Vec x) { return Real(1) / (Real(1) + exponential(-x)); }

static inline Vec hyperbolic_tangent(Vec x) {
    if constexpr (sizeof(Real) == 8) {
        return lane_by_lane(x, [](Real v) { return std::tanh(v); });
    } else {  // near 0 by the odd polynomial of Cephes' tanhf, where 1 − 2/(e^2x + 1) would cancel
        const Vec s = x * x;
        Vec p = splat(Real(-5.70498872745e-3));
        for (Real c : {Real(2.06390887954e-2), Real(-5.37397155531e-2), Real(1.33314422036e-1), Real(-3.33332819422e-1)})
            p = p * s + c;
        const Vec near = p * s * x + x;
        const Vec far = Real(1) - Real(2) / (exponential(x + x) + Real(1));
        return s < splat(Real(0.390625)) ? near : far;
    }
}

// Φ(x) = ½(1 + erf(x/√2)). In float32 erf by Abramowitz and Stegun 7.1.26, within 1.5e-7; `bell` is e^(−x²/2).
static inline Vec normal_distribution(Vec x, Vec bell) {
    if constexpr (sizeof(Real) == 8) {
        return lane_by_lane(x, [](Real v) { return Real(0.5) * (Real(1) + std::erf(v * Real(0.70710678118654752440))); });
    } else {
        const Vec size = select(x, x, -x) * Real(0.70710678118654752440);
        const Vec t = Real(1) / (Real(1) + Real(0.3275911) * size);
        Vec p = splat(Real(1.061405429));
        for (Real c : {Real(-1.453152027), Real(1.421413741), Real(-0.284496736), Real(0.254829592)}) p = p * t + c;
        const Vec tail = p * t * bell * Real(0.5);
        return x > Vec{} ? Real(1) - tail : tail;
    }
}

// Wellons' lowbias32 of index·2³²/φ ^ key, the bits of KeyedDropout; `key` is folded already.
static inline Bits hashed(Bits index, uint32_t key) {
    Bits x = index * 0x9E3779B9u;
    x ^= x >> 16;
    x ^= key;
    x *= 0x7FEB352Du;
    x ^= x >> 15;
    return x * 0x846CA68Bu;
}
