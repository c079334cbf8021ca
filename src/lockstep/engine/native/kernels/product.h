// Matrix products C = A B (+ a row, or what C is), the way they are known to be fast: a tile of C stays in registers
// while k runs.
#pragma once
#include <utility>

#include "vectors.h"

#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int TILE_ROWS = 8, TILE_VECTORS = 3;  // 24 sums in 32 registers
#else
constexpr int TILE_ROWS = 6, TILE_VECTORS = 2;  // 12 sums in 16 registers
#endif

// A[i, k] = a[i·row + k·step]: either way round, so that nothing is transposed for a product.
struct Left {
    const Real* a;
    long row, step;
    Left below(long rows) const { return {a + rows * row, row, step}; }
    Real at(long i, long k) const { return a[i * row + k * step]; }
};

// A[i, k] = a[i·row + steps[k]], and A[i, k] = a[rows[i] + k·step]: windows over an image, which is not copied for them.
struct Windowed {
    const Real* a;
    long row;
    const long* steps;
    Windowed below(long rows) const { return {a + rows * row, row, steps}; }
    Real at(long i, long k) const { return a[i * row + steps[k]]; }
};
struct TurnedWindows {
    const Real* a;
    const long* rows;
    long step;
    TurnedWindows below(long count) const { return {a, rows + count, step}; }
    Real at(long i, long k) const { return a[rows[i] + k * step]; }
};

template <int ROWS, int VECTORS, class Form>
__attribute__((always_inline)) inline void tile(Form A, const Real* B, long ldb, Real* C, long ldc, long K,
                                                const Real* start, long lds) {
    Vec sums[ROWS][VECTORS];
#pragma GCC unroll 8
    for (int j = 0; j < VECTORS; j++)
#pragma GCC unroll 16
        for (int i = 0; i < ROWS; i++) sums[i][j] = start ? load(start + i * lds + j * L) : Vec{};
    for (long k = 0; k < K; k++) {
        Vec b[VECTORS];
#pragma GCC unroll 8
        for (int j = 0; j < VECTORS; j++) b[j] = load(B + k * ldb + j * L);
#pragma GCC unroll 16
        for (int i = 0; i < ROWS; i++) {
            const Vec a = splat(A.at(i, k));
#pragma GCC unroll 8
            for (int j = 0; j < VECTORS; j++) sums[i][j] += a * b[j];
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 8
        for (int j = 0; j < VECTORS; j++) store(C + i * ldc + j * L, sums[i][j]);
}

template <int ROWS, int VECTORS, class Form>
void last_rows(long left, Form A, const Real* B, long ldb, Real* C, long ldc, long K, const Real* start, long lds) {
    if constexpr (ROWS > 0) {
        if (left == ROWS)
            tile<ROWS, VECTORS>(A, B, ldb, C, ldc, K, start, lds);
        else
            last_rows<ROWS - 1, VECTORS>(left, A, B, ldb, C, ldc, K, start, lds);
    }
}

template <int VECTORS, class Form>
void panel(long M, Form A, const Real* B, long ldb, Real* C, long ldc, long K, const Real* start, long lds) {
    const auto from = [=](long i) { return start ? start + i * lds : nullptr; };
    long i = 0;
    for (; i + TILE_ROWS <= M; i += TILE_ROWS)
        tile<TILE_ROWS, VECTORS>(A.below(i), B, ldb, C + i * ldc, ldc, K, from(i), lds);
    if (i < M) last_rows<TILE_ROWS - 1, VECTORS>(M - i, A.below(i), B, ldb, C + i * ldc, ldc, K, from(i), lds);
}

// C [M, N] = A [M, K] B [K, N] + start, if any: one row [N] for all, or, with rows of lds, as many as C has (maybe C
// itself). N is a whole number of vectors; B and C have rows of ldb and ldc.
template <class Form>
static void product(long M, long N, long K, Form A, const Real* B, long ldb, Real* C, long ldc, const Real* start,
                    long lds = 0) {
    long j = 0, left = N / L;
    while (left) {
        const int now = left == 4 && TILE_VECTORS == 3 ? 2 : left < TILE_VECTORS ? int(left) : TILE_VECTORS;
        const Real* own = start ? start + j : nullptr;
        switch (now) {
            case 3: panel<3>(M, A, B + j, ldb, C + j, ldc, K, own, lds); break;
            case 2: panel<2>(M, A, B + j, ldb, C + j, ldc, K, own, lds); break;
            default: panel<1>(M, A, B + j, ldb, C + j, ldc, K, own, lds);
        }
        j += now * L;
        left -= now;
    }
}

// Rows i and i + S exchange their off-diagonal blocks of S: for S = 1, 2, 4 … a square of L × L is then transposed.
template <int S, size_t... K>
static inline void exchange(Vec& a, Vec& b, std::index_sequence<K...>) {
    const Vec upper = __builtin_shufflevector(a, b, (K & S ? L + K - S : K)...);
    b = __builtin_shufflevector(a, b, (K & S ? L + K : K + S)...);
    a = upper;
}

template <int S = 1>
static inline void transpose_square(Vec* rows) {
    if constexpr (S < L) {
#pragma GCC unroll 16
        for (int i = 0; i < L; i++)
            if (!(i & S)) exchange<S>(rows[i], rows[i + S], std::make_index_sequence<L>{});
        transpose_square<2 * S>(rows);
    }
}

// T [N, M] = A [M, N] transposed, in squares of vectors; what T has beside M columns is left alone. By strips of
// columns: over all at once, writing would go round more pages than the processor remembers.
static void transpose(long M, long N, const Real* A, long lda, Real* T, long ldt) {
    constexpr long STRIP = 4 * L;
    const auto square = [=](long i, long j) {
        Vec rows[L];
#pragma GCC unroll 16
        for (int r = 0; r < L; r++) rows[r] = load(A + (i + r) * lda + j);
        transpose_square(rows);
#pragma GCC unroll 16
        for (int r = 0; r < L; r++) {
            store(T + (j + r) * ldt + i, rows[r]);
            __builtin_prefetch(T + (j + r) * ldt + i + 2 * L, 1);
        }
    };
    for (long strip = 0; strip < N; strip += STRIP)
        for (long i = 0; i < M; i += L)
            for (long j = strip; j < N && j < strip + STRIP; j += L) {
                if (i + L <= M && j + L <= N) {
                    square(i, j);
                    continue;
                }
                for (long jj = j; jj < (j + L < N ? j + L : N); jj++)
                    for (long ii = i; ii < (i + L < M ? i + L : M); ii++) T[jj * ldt + ii] = A[ii * lda + jj];
            }
}
