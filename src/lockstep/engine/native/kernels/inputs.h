// From rows as they are kept, once for all members, to features: a member's preprocessing is worked out for every batch
// anew. lockstep/engine/native/inputs.py fills the structures.
#pragma once
#include <algorithm>
#include <cstring>

#include "vectors.h"

enum FormulaKind : int32_t { WHOLE, BYTES, PIXELS, NUMBERS, GAPS, ONE_HOT };

// Some of the features, `width` from `start` on. A number is (x − centre)/spread, where x is NaN 0, and held to `low` …
// `high`; a pixel the same with one centre and spread for all; a gap says where x is NaN; a one-hot has a feature for
// each code of a category column but 0.
struct Formula {
    int64_t kind, start, width;
    int64_t category;               // which of the codes a one-hot is of
    const void* const* rows;        // for each member [N, …], of bytes or numbers
    int64_t apart;                  // from one row to the next
    const int32_t* columns;         // where in a row each feature's x is; null: at its own place
    const Real *centre, *spread;    // of all members
    int64_t stride;                 // from one member's to the next
    double low, high;
};

// What a formula reads: `bytes` of each row, `apart` from one row to the next.
struct Source {
    const char* rows;
    long apart, bytes;

    void ask_for(int64_t row) const {  // from memory, while rows before it are worked on
        for (long j = 0; j < bytes; j += 64) __builtin_prefetch(rows + row * apart + j);
    }
};

struct Inputs {
    int64_t formulas, categories, all_codes;
    const Formula* formula;
    const int64_t* codes;           // [N, categories]
    const int64_t* offsets;         // of each category's codes among those of all
    const int64_t* known;           // [K, all_codes]: whether the member's training rows have the code

    // A row's code in a category; one that the member does not know is as never seen, 0.
    int64_t code(long member, int64_t row, int64_t category) const {
        const int64_t own = codes[row * categories + category];
        return own * known[member * all_codes + offsets[category] + own];
    }
    int64_t among_all(int64_t row, int64_t category) const {
        return offsets[category] + codes[row * categories + category];
    }

    Source source(const Formula& f, long member) const {
        const long code = sizeof(int64_t), each = f.kind == BYTES ? 1 : sizeof(Real);
        if (f.kind == ONE_HOT) return {reinterpret_cast<const char*>(codes), categories * code, categories * code};
        return {static_cast<const char*>(f.rows[member]), f.apart * each, std::min(f.width, f.apart) * each};
    }
};

// Which feature is 1 for each code of a one-hot's category, −1 where none is, at the code's place among those of all.
static void places_of(const Inputs& inputs, const Formula& f, long member, int32_t* places) {
    const int64_t* known = inputs.known + member * inputs.all_codes + inputs.offsets[f.category];
    places += inputs.offsets[f.category];
    places[0] = -1;
    for (long code = 1; code <= f.width; code++) places[code] = known[code] ? int32_t(f.start + code - 1) : -1;
}

template <class Number>
static void scale_pixels(const Number* __restrict x, Real* __restrict y, long n, Real centre, Real spread) {
    for (long j = 0; j < n; j++) y[j] = (Real(x[j]) - centre) / spread;
}

static void scale_numbers(const Formula& f, const Real* __restrict x, const Real* __restrict centre,
                          const Real* __restrict spread, Real* __restrict y) {
    const Real low = Real(f.low), high = Real(f.high);
    const int32_t* __restrict column = f.columns;
    const auto scaled = [=](Real value, long j) {
        Real z = (value - centre[j]) / spread[j];
        z = z == z ? z : Real(0);
        z = z < low ? low : z;
        return z > high ? high : z;
    };
    if (column)
        for (long j = 0; j < f.width; j++) y[j] = scaled(x[column[j]], j);
    else
        for (long j = 0; j < f.width; j++) y[j] = scaled(x[j], j);
}

static void fill(const Inputs& inputs, const Formula& f, long member, int64_t row, Real* features) {
    Real* y = features + f.start;
    const uint8_t* bytes = static_cast<const uint8_t*>(f.rows[member]) + row * f.apart;
    const Real* x = static_cast<const Real*>(f.rows[member]) + row * f.apart;
    const Real *centre = f.centre + member * f.stride, *spread = f.spread + member * f.stride;
    switch (f.kind) {
        case WHOLE: std::memcpy(y, x, f.width * sizeof(Real)); break;
        case BYTES: scale_pixels(bytes, y, f.width, *centre, *spread); break;
        case PIXELS: scale_pixels(x, y, f.width, *centre, *spread); break;
        case NUMBERS: scale_numbers(f, x, centre, spread, y); break;
        case GAPS:
            for (long j = 0; j < f.width; j++) y[j] = std::isnan(x[f.columns[j]]);
            break;
        case ONE_HOT: {
            const int64_t code = inputs.code(member, row, f.category);
            std::memset(y, 0, f.width * sizeof(Real));
            if (code) y[code - 1] = 1;
        }
    }
}
