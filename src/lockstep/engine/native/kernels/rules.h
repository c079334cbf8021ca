// The update rules for one stretch of a member's numbers, as in lockstep/optim/rules.py; its factors in the same order.
#pragma once
#include "vectors.h"

enum Rule : int32_t { SGD, NESTEROV, RMSPROP, RMSPROP_CENTRED, ADAM, ADAMW };

// `gradient` is multiplied by `clip` first; `decayed` is 0 where weight decay is spared. `average` may be null.
static void update(Rule rule, const Real* factor, Real clip, Real decayed, long count, Real* params,
                   const Real* gradient, Real* const* moments, Real* average, Real fresh_average) {
    Real *first = moments[0], *second = moments[1], *third = moments[2];
    for (long i = 0; i < count; i += L) {
        Vec w = load(params + i), g = load(gradient + i) * clip;
        switch (rule) {
            case SGD: {
                const Real lr = factor[0], momentum = factor[1], fresh = factor[2], decay = factor[3] * decayed;
                g += decay * w;
                const Vec v = load(first + i) * momentum + g * fresh;
                store(first + i, v);
                w -= lr * v;
                break;
            }
            case NESTEROV: {
                const Real lr = factor[0], momentum = factor[1], decay = factor[3] * decayed;
                g += decay * w;
                const Vec v = load(first + i) * momentum + g;
                store(first + i, v);
                w -= lr * (g + momentum * v);
                break;
            }
            case RMSPROP:
            case RMSPROP_CENTRED: {
                const Real lr = factor[0], alpha = factor[1], fresh = factor[2], eps = factor[3];
                const Real decay = factor[4] * decayed, momentum = factor[5];
                g += decay * w;
                const Vec square = load(first + i) * alpha + g * g * fresh;
                store(first + i, square);
                Vec spread = square;
                if (rule == RMSPROP_CENTRED) {
                    Vec mean = load(third + i);
                    mean += (g - mean) * fresh;
                    store(third + i, mean);
                    spread -= mean * mean;
                }
                const Vec v = load(second + i) * momentum + g / (root(spread) + eps);
                store(second + i, v);
                w -= lr * v;
                break;
            }
            case ADAM:
            case ADAMW: {
                const Real step_size = factor[0], unbias = factor[1], fresh1 = factor[2], beta2 = factor[3];
                const Real fresh2 = factor[4], eps = factor[5], decay = factor[6] * decayed;
                if (rule == ADAM)
                    g += decay * w;
                else
                    w -= decay * w;
                Vec mean = load(first + i);
                mean += (g - mean) * fresh1;
                const Vec square = load(second + i) * beta2 + g * g * fresh2;
                store(first + i, mean);
                store(second + i, square);
                w -= step_size * mean / (root(square) * unbias + eps);
                break;
            }
        }
        store(params + i, w);
        if (average) {
            const Vec a = load(average + i);
            store(average + i, a + (w - a) * fresh_average);
        }
    }
}
