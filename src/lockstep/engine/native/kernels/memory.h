// Memory for numbers, and how a member's parameters lie in it.
#pragma once
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

#include "product.h"

struct Free {
    void operator()(void* p) const { std::free(p); }
};

class Numbers {  // aligned, and 0 at the start
  public:
    explicit Numbers(long count = 0) {
        const size_t bytes = (padded(count > 0 ? count : 1) * sizeof(Real) + 127) / 64 * 64;
        data_.reset(static_cast<Real*>(std::aligned_alloc(64, bytes)));
        if (!data_) throw std::bad_alloc();
        std::memset(data_.get(), 0, bytes);
    }
    operator Real*() { return data_.get(); }

  private:
    std::unique_ptr<Real[], Free> data_;
};

enum PieceKind : int32_t { VECTOR, MATRIX, TABLE };

// One parameter: `rows` × `cols` numbers at `flat` among a member's P, and at `place` among its padded numbers, where a
// MATRIX lies transposed with rows of `padded(rows)`.
struct Piece {
    int64_t kind, rows, cols, flat, place, size, decayed;
};

static void pack(const Piece* piece, long pieces, const Real* flat, Real* own) {
    for (long i = 0; i < pieces; i++) {
        const Piece& q = piece[i];
        if (q.kind == MATRIX)
            transpose(q.rows, q.cols, flat + q.flat, q.cols, own + q.place, padded(q.rows));
        else
            std::memcpy(own + q.place, flat + q.flat, q.rows * q.cols * sizeof(Real));
    }
}

static void unpack(const Piece* piece, long pieces, const Real* own, Real* flat) {
    for (long i = 0; i < pieces; i++) {
        const Piece& q = piece[i];
        if (q.kind == MATRIX)
            transpose(q.cols, q.rows, own + q.place, padded(q.rows), flat + q.flat, q.cols);
        else
            std::memcpy(flat + q.flat, own + q.place, q.rows * q.cols * sizeof(Real));
    }
}
