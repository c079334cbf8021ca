// Many steps of many members with no return in between: gather, forward, loss, backward, clip, update.
//
// Members do not depend on each other, so a thread takes one and stays with it for all steps of the call: its weights
// and moments are then in that core's cache. lockstep/engine/native/program.py fills the structures below.
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "layers.h"
#include "losses.h"
#include "rules.h"

enum PieceKind : int32_t { VECTOR, MATRIX, TABLE };

// One parameter: `rows` × `cols` numbers at `flat` among a member's P, and at `place` among its padded numbers, where a
// MATRIX lies transposed with rows of `padded(rows)`.
struct Piece {
    int64_t kind, rows, cols, flat, place, size, decayed;
};

// Vectors of `width` numbers at `place`, one per code; they fill the features from `start` on.
struct Embedding {
    int64_t place, size, width, column, start;
};

struct Program {
    int64_t members, batch, features, outputs, flat, size, layers, pieces, embeddings, code_columns, lowest;
    int64_t loss, rule, moments, factors, places, averaged, scales, threads;
    const Layer* layer;
    const Piece* piece;
    const Embedding* embedding;
};

struct Run {
    int64_t steps;
    const int64_t* rows;                    // [S, K, B]
    const int32_t* keys;                    // [S, K, places]
    const Real* factors;                    // [S, F, K]
    const Real* clip;                       // [K]
    const Real* const* features;            // for each member [N, padded(features)]
    const int64_t* const* codes;            // for each member [N, code_columns]
    const void* targets;                    // [N, …]
    const Real *weights, *smoothing, *delta, *quantile, *scale;  // [K, …] or null
    Real* params;                           // [K, P]
    Real* moments[4];                       // each [K, P]; the average last
    Real* losses;                           // [S, K]
    Real* norms;                            // [S, K, pieces]
};

struct Evaluation {
    const int64_t* const* rows;             // for each member
    const int64_t* counts;                  // [K]
    const Real* const* features;
    const int64_t* const* codes;
    const Real* params;
    Real* const* outputs;                   // for each member [counts, outputs]
};

// ------------------------------------------------------------------------------------------------------------- memory

struct Free {
    void operator()(void* p) const { std::free(p); }
};

class Numbers {  // aligned, and 0 at the start
  public:
    explicit Numbers(long count = 0) {
        const size_t bytes = (padded(count > 0 ? count : 1) * sizeof(Real) + 127) / 64 * 64;
        data_.reset(static_cast<Real*>(std::aligned_alloc(64, bytes)));
        std::memset(data_.get(), 0, bytes);
    }
    operator Real*() { return data_.get(); }

  private:
    std::unique_ptr<Real[], Free> data_;
};

// What one thread needs to take a batch of a member there and back.
struct Desk {
    Numbers input, delta, below, turned;
    std::vector<Numbers> outputs, kept;

    explicit Desk(const Program& p) : input(p.batch * padded(p.features)) {
        long widest = padded(p.features), matrix = 0;
        for (long i = 0; i < p.layers; i++) {
            const Layer& l = p.layer[i];
            outputs.emplace_back(p.batch * padded(l.out));
            kept.emplace_back(kept_by(l, p.batch));
            widest = std::max(widest, padded(l.out));
            if (l.kind == LINEAR && !l.lowest) matrix = std::max(matrix, l.out * padded(l.in));
        }
        delta = Numbers(p.batch * widest);
        below = Numbers(p.batch * widest);
        turned = Numbers(matrix);
    }
};

static void pack(const Program& p, const Real* flat, Real* own) {
    for (long i = 0; i < p.pieces; i++) {
        const Piece& q = p.piece[i];
        if (q.kind == MATRIX)
            transpose(q.rows, q.cols, flat + q.flat, q.cols, own + q.place, padded(q.rows));
        else
            std::memcpy(own + q.place, flat + q.flat, q.rows * q.cols * sizeof(Real));
    }
}

static void unpack(const Program& p, const Real* own, Real* flat) {
    for (long i = 0; i < p.pieces; i++) {
        const Piece& q = p.piece[i];
        if (q.kind == MATRIX)
            transpose(q.cols, q.rows, own + q.place, padded(q.rows), flat + q.flat, q.cols);
        else
            std::memcpy(flat + q.flat, own + q.place, q.rows * q.cols * sizeof(Real));
    }
}

// ----------------------------------------------------------------------------------------------------------- the step

static void gather(const Program& p, Desk& desk, const Real* features, const int64_t* codes, const int64_t* rows,
                   long n, const Real* params) {
    const long ld = padded(p.features);
    for (long b = 0; b < n; b++) std::memcpy(desk.input + b * ld, features + rows[b] * ld, ld * sizeof(Real));
    for (long i = 0; i < p.embeddings; i++) {
        const Embedding& e = p.embedding[i];
        for (long b = 0; b < n; b++)
            std::memcpy(desk.input + b * ld + e.start,
                        params + e.place + codes[rows[b] * p.code_columns + e.column] * e.width, e.width * sizeof(Real));
    }
}

static const Real* through(const Program& p, Desk& desk, const Now& now) {
    const Real* x = desk.input;
    for (long i = 0; i < p.layers; i++) {
        forward(p.layer[i], x, desk.outputs[i], desk.kept[i], now);
        x = desk.outputs[i];
    }
    return x;
}

static void back(const Program& p, Desk& desk, const Now& now, const int64_t* codes, const int64_t* rows) {
    Real *delta = desk.delta, *below = desk.below;
    for (long i = p.layers - 1; i >= p.lowest; i--) {
        const Real* x = i ? desk.outputs[i - 1] : desk.input;
        backward(p.layer[i], delta, below, x, desk.outputs[i], desk.kept[i], desk.turned, now);
        if (p.layer[i].kind == LINEAR) std::swap(delta, below);
    }
    const long ld = padded(p.features);
    for (long i = 0; i < p.embeddings; i++) {
        const Embedding& e = p.embedding[i];
        std::memset(now.grads + e.place, 0, e.size * sizeof(Real));
        for (long b = 0; b < now.n; b++) {
            Real* own = now.grads + e.place + codes[rows[b] * p.code_columns + e.column] * e.width;
            for (long j = 0; j < e.width; j++) own[j] += delta[b * ld + e.start + j];
        }
    }
}

static Real norm_squared(const Real* x, long count) {
    double all = 0;
    for (long i = 0; i < count; i += 64 * L) all += along(x + i, x + i, std::min(64 * L, count - i));
    return Real(all);
}

static void train_member(const Program& p, const Run& run, long k, Desk& desk, Numbers& params, Numbers& grads,
                         std::vector<Numbers>& moments) {
    pack(p, run.params + k * p.flat, params);
    Real* own[4] = {};
    for (long i = 0; i < p.moments; i++) pack(p, run.moments[i] + k * p.flat, own[i] = moments[i]);
    Real* average = p.averaged ? own[p.moments - 1] : nullptr;
    const int64_t* codes = run.codes ? run.codes[k] : nullptr;
    const auto of = [&](const Real* numbers, long each) { return numbers ? numbers + k * each : nullptr; };
    const LossNumbers by{of(run.weights, p.loss == CROSS_ENTROPY ? p.outputs : 2), of(run.smoothing, 1), of(run.delta, 1),
                         of(run.quantile, 1), of(run.scale, p.scales), p.scales};
    for (long s = 0; s < run.steps; s++) {
        const int64_t* rows = run.rows + (s * p.members + k) * p.batch;
        const Now now{k, p.batch, true, params, grads, run.keys + (s * p.members + k) * p.places};
        gather(p, desk, run.features[k], codes, rows, p.batch, params);
        const Real* z = through(p, desk, now);
        run.losses[s * p.members + k] =
            loss_and_delta(Loss(p.loss), z, run.targets, rows, desk.delta, p.batch, p.outputs, by);
        back(p, desk, now, codes, rows);

        Real all = 0;
        for (long i = 0; i < p.pieces; i++) {
            const Real squared = norm_squared(grads + p.piece[i].place, p.piece[i].size);
            run.norms[(s * p.members + k) * p.pieces + i] = std::sqrt(squared);
            all += squared;
        }
        const Real most = run.clip[k] / (std::sqrt(all) + Real(1e-6)), clip = most > 1 ? Real(1) : most;
        Real factor[16];
        for (long f = 0; f < p.factors; f++) factor[f] = run.factors[(s * p.factors + f) * p.members + k];
        for (long i = 0; i < p.pieces; i++) {
            const Piece& q = p.piece[i];
            Real* at[3] = {};
            for (long m = 0; m < 3 && own[m]; m++) at[m] = own[m] + q.place;
            update(Rule(p.rule), factor, clip, Real(q.decayed), q.size, params + q.place, grads + q.place, at,
                   average ? average + q.place : nullptr, p.averaged ? factor[p.factors - 1] : Real(0));
        }
    }
    unpack(p, params, run.params + k * p.flat);
    for (long i = 0; i < p.moments; i++) unpack(p, own[i], run.moments[i] + k * p.flat);
}

static void evaluate_member(const Program& p, const Evaluation& e, long k, Desk& desk, Numbers& params) {
    pack(p, e.params + k * p.flat, params);
    for (long start = 0; start < e.counts[k]; start += p.batch) {
        const long n = std::min(p.batch, e.counts[k] - start);
        const Now now{k, n, false, params, nullptr, nullptr};
        gather(p, desk, e.features[k], e.codes ? e.codes[k] : nullptr, e.rows[k] + start, n, params);
        const Real* z = through(p, desk, now);
        for (long b = 0; b < n; b++)
            std::memcpy(e.outputs[k] + (start + b) * p.outputs, z + b * padded(p.outputs), p.outputs * sizeof(Real));
    }
}

template <class F>
static void share_members(const Program& p, F work) {  // work(next) with next() the next member, or −1
    std::atomic<long> next{0};
    const auto take = [&]() -> long {
        const long k = next++;
        return k < p.members ? k : -1;
    };
    std::vector<std::thread> others;
    for (long t = 1; t < std::min(p.threads, p.members); t++) others.emplace_back([&] { work(take); });
    work(take);
    for (auto& other : others) other.join();
}

extern "C" {

void train(const Program* program, const Run* run) {
    const Program& p = *program;
    share_members(p, [&](auto next) {
        Desk desk(p);
        Numbers params(p.size), grads(p.size);
        std::vector<Numbers> moments;
        for (long i = 0; i < p.moments; i++) moments.emplace_back(p.size);
        for (long k; (k = next()) >= 0;) train_member(p, *run, k, desk, params, grads, moments);
    });
}

void evaluate(const Program* program, const Evaluation* evaluation) {
    const Program& p = *program;
    share_members(p, [&](auto next) {
        Desk desk(p);
        Numbers params(p.size);
        for (long k; (k = next()) >= 0;) evaluate_member(p, *evaluation, k, desk, params);
    });
}

int64_t vector_length() { return L; }

// The sizes of the structures, for whoever mirrors them.
int64_t size_of(int64_t which) {
    const int64_t sizes[] = {sizeof(Layer), sizeof(Piece), sizeof(Embedding), sizeof(Program), sizeof(Run), sizeof(Evaluation)};
    return sizes[which];
}
}
