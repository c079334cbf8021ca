// What layers have in common that see more than a row (attention.h, images.h, recurrence.h): they work on some whole
// samples of ONE member, forward and back; what is padded is 0 in every δ, as in layers.h.
#pragma once
#include "layers.h"

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
