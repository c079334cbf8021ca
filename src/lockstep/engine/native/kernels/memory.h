// Memory for numbers, and how a member's parameters lie in it.
#pragma once
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <new>

#include "product.h"
#include "team.h"

// Memory that nobody uses now, kept for whoever asks next for as much: what is fresh from the system costs a fault for
// each page when it is first touched.
class Spare {
  public:
    void* take(size_t bytes) {
        const std::lock_guard<std::mutex> lock(mutex_);
        const auto at = idle_.find(bytes);
        if (at == idle_.end()) return std::aligned_alloc(64, bytes);
        void* found = at->second;
        idle_.erase(at);
        bytes_ -= bytes;
        return found;
    }

    void give(void* memory, size_t bytes) noexcept try {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (bytes_ + bytes > MOST_BYTES) return std::free(memory);
        idle_.emplace(bytes, memory);
        bytes_ += bytes;
    } catch (const std::bad_alloc&) {
        std::free(memory);
    }

  private:
    static constexpr size_t MOST_BYTES = 64'000'000;
    std::mutex mutex_;
    size_t bytes_ = 0;
    std::multimap<size_t, void*> idle_;
};

static Spare spare;

struct Give {
    size_t bytes = 0;
    void operator()(void* memory) const { spare.give(memory, bytes); }
};

class Numbers {  // aligned, and 0 at the start
  public:
    explicit Numbers(long count = 0) {
        const size_t bytes = (padded(count > 0 ? count : 1) * sizeof(Real) + 127) / 64 * 64;
        data_ = {static_cast<Real*>(spare.take(bytes)), Give{bytes}};
        if (!data_) throw std::bad_alloc();
        std::memset(data_.get(), 0, bytes);
    }
    operator Real*() { return data_.get(); }

  private:
    std::unique_ptr<Real[], Give> data_;
};

enum PieceKind : int32_t { VECTOR, MATRIX, TABLE };

// One parameter: `rows` × `cols` numbers at `flat` among a member's P, and at `place` among its padded numbers, where a
// MATRIX lies transposed: `cols` lines of `padded(rows)` columns, the columns of each thread of a team together.
struct Piece {
    int64_t kind, rows, cols, flat, place, size, decayed;
    long width() const { return padded(rows); }

    // f(columns of a thread, their part of the flat numbers, and of the padded)
    template <class F>
    void each_share(long team, F f) const {
        for (long t = 0; t < team; t++) {
            const Range c = Team{t, team}.columns(width());
            f(Range{c.begin, std::min<long>(c.end, rows)}, flat + c.begin * cols, place + c.begin * cols, c.size());
        }
    }
};

static void pack(const Piece* piece, long pieces, const Real* flat, Real* own, long team = 1) {
    for (long i = 0; i < pieces; i++) {
        const Piece& q = piece[i];
        if (q.kind == MATRIX)
            q.each_share(team, [&](Range c, long from, long to, long ld) {
                transpose(c.size(), q.cols, flat + from, q.cols, own + to, ld);
            });
        else
            std::memcpy(own + q.place, flat + q.flat, q.rows * q.cols * sizeof(Real));
    }
}

static void unpack(const Piece* piece, long pieces, const Real* own, Real* flat, long team = 1) {
    for (long i = 0; i < pieces; i++) {
        const Piece& q = piece[i];
        if (q.kind == MATRIX)
            q.each_share(team, [&](Range c, long to, long from, long ld) {
                transpose(q.cols, c.size(), own + from, ld, flat + to, q.cols);
            });
        else
            std::memcpy(flat + q.flat, own + q.place, q.rows * q.cols * sizeof(Real));
    }
}
