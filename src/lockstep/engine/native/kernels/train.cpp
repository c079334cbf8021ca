// Many steps of many members with no return in between: gather, forward, loss, backward, clip, update.
//
// Members do not depend on each other, so a thread takes one and stays with it for many steps: its weights and moments
// are then in that core's cache. Where there are fewer members than threads, a team of threads shares each member.
// lockstep/engine/native/program.py fills the structures below.
#include <algorithm>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "inputs.h"
#include "layers.h"
#include "losses.h"
#include "memory.h"
#include "rules.h"

constexpr long MOST_FACTORS = 16;
constexpr long SHORT_ROW = 512, AHEAD = 32;  // bytes; rows: work on a short one is over long before memory answers
constexpr long WORTH_A_THREAD = 10'000'000;  // operations in a step, some 0.1 ms: threads of a team meet 20 times in it

// Vectors of `width` numbers at `place`, one for each code of a category; they fill the features from `start` on.
struct Embedding {
    int64_t place, size, width, category, start;
};

struct Program {
    int64_t members, batch, features, outputs, flat, size, layers, pieces, embeddings, lowest;
    int64_t hot_begin, hot_end, hots;  // features that are one-hots, see Hot; 0 of them: they are filled in
    int64_t loss, rule, moments, factors, places, averaged, scales, threads;
    const Layer* layer;
    const Piece* piece;
    const Embedding* embedding;
    const Inputs* inputs;
};

struct Run {
    int64_t steps;
    const int64_t* rows;                    // [S, K, B]
    const int32_t* keys;                    // [S, K, places]
    const Real* factors;                    // [S, F, K]
    const Real* clip;                       // [K]
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
    const Real* params;
    Real* const* outputs;                   // for each member [counts, outputs]
};

static bool by_rows(const Layer& l) {
    return l.kind == FEATURE_NORM || l.kind == ROOT_MEAN_SQUARE || (l.kind == LINEAR && narrow(l));
}

// Of each layer's output: whether all that made it, from a product to the next one, works by columns.
static std::vector<bool> lie_apart(const Program& p) {
    std::vector<bool> apart(p.layers, false);
    for (long first = 0, next; first < p.layers; first = next) {
        bool all = p.layer[first].kind == LINEAR;
        for (next = first; next == first || (next < p.layers && p.layer[next].kind != LINEAR); next++)
            all = all && !by_rows(p.layer[next]);
        if (all && next < p.layers) std::fill(apart.begin() + first, apart.begin() + next, true);
    }
    return apart;
}

// What it takes to bring a batch of a member there and back.
struct Desk {
    Numbers input, delta, below, turned, grads, squares;
    std::vector<int32_t> places, place_of;  // of the batch's one-hots; of each code of all categories, see Hot
    std::vector<Numbers> made, kept;
    std::vector<Real*> outputs;  // of each layer; some over others
    std::vector<bool> apart;     // whether they lie so, see Team::columns

    explicit Desk(const Program& p)
        : input(p.batch * padded(p.features)), grads(p.size), places(p.batch * p.hots),
          place_of(p.hots ? p.inputs->all_codes : 0), apart(lie_apart(p)) {
        long widest = padded(p.features), matrix = 0;
        for (long i = 0; i < p.layers; i++) {
            const Layer& l = p.layer[i];
            if (i == 0 || !writes_over(p.layer[i - 1], l)) made.emplace_back(p.batch * padded(l.out));
            outputs.push_back(made.back());
            kept.emplace_back(kept_by(l, p.batch));
            widest = std::max(widest, padded(l.out));
            if (l.kind == LINEAR && !l.lowest) matrix = std::max(matrix, l.out * padded(l.in));
        }
        delta = Numbers(p.batch * widest);
        below = Numbers(p.batch * widest);
        turned = Numbers(matrix);
        long columns = 0;
        for (long i = 0; i < p.pieces; i++) columns += p.piece[i].width();
        squares = Numbers(columns);
    }

    // How the input and the output of a layer lie.
    void say_how(long layer, Now& now) const {
        now.apart_in = layer && apart[layer - 1];
        now.apart_out = apart[layer];
    }

    // For the batches of one member.
    Hot hot(const Program& p, long member) {
        for (long i = 0; p.hots && i < p.inputs->formulas; i++)
            if (const Formula& f = p.inputs->formula[i]; f.kind == ONE_HOT) places_of(*p.inputs, f, member, place_of.data());
        return {p.hot_begin, p.hot_end, p.hots, places.data()};
    }
};

// A member's parameters and moments, padded.
struct Own {
    Numbers params;
    std::vector<Numbers> moments;
};

// ----------------------------------------------------------------------------------------------------------- the step

static void gather(const Program& p, Desk& desk, const int64_t* rows, const Now& now) {
    const Inputs& inputs = *p.inputs;
    const long ld = padded(p.features);
    const Range own = now.rows();
    const auto each_row = [&](const Source& from, long ahead, auto work) {
        for (long b = own.begin; b < std::min(own.begin + ahead, own.end); b++) from.ask_for(rows[b]);
        for (long b = own.begin; b < own.end; b++) {
            if (ahead && b + ahead < own.end) from.ask_for(rows[b + ahead]);
            work(b, rows[b]);
        }
    };
    long hot = 0;
    const void* asked = nullptr;  // formulas of a table read the same rows: the first asks for them
    for (long i = 0; i < inputs.formulas; i++) {
        const Formula& f = inputs.formula[i];
        const Source from = inputs.source(f, now.member);
        const long ahead = std::exchange(asked, from.rows) == from.rows ? 0 : from.bytes > SHORT_ROW ? 1 : AHEAD;
        if (f.kind == ONE_HOT && p.hots) {
            int32_t* place = desk.places.data() + hot++;
            each_row(from, ahead, [&](long b, int64_t row) {
                place[b * p.hots] = desk.place_of[inputs.among_all(row, f.category)];
            });
        } else {
            each_row(from, ahead, [&](long b, int64_t row) { fill(inputs, f, now.member, row, desk.input + b * ld); });
        }
    }
    for (long i = 0; i < p.embeddings; i++) {
        const Embedding& e = p.embedding[i];
        for (long b = own.begin; b < own.end; b++) {
            const int64_t code = inputs.code(now.member, rows[b], e.category);
            std::memcpy(desk.input + b * ld + e.start, now.params + e.place + code * e.width, e.width * sizeof(Real));
        }
    }
    now.team.meet();
}

// Whether a team must meet between two layers, either way: not where the second reads only the columns that the same
// thread made in the first.
static bool must_meet(const Layer& first, const Layer& second) {
    return second.kind == LINEAR || by_rows(first) || by_rows(second);
}

static const Real* through(const Program& p, Desk& desk, Now now) {
    const Real* x = desk.input;
    for (long i = 0; i < p.layers; i++) {
        desk.say_how(i, now);
        forward(p.layer[i], x, desk.outputs[i], desk.kept[i], now);
        if (i + 1 == p.layers || must_meet(p.layer[i], p.layer[i + 1])) now.team.meet();
        x = desk.outputs[i];
    }
    return x;
}

static void back(const Program& p, Desk& desk, Now now, const int64_t* rows) {
    Real *delta = desk.delta, *below = desk.below;
    for (long i = p.layers - 1; i >= p.lowest; i--) {
        desk.say_how(i, now);
        const Real* x = i ? desk.outputs[i - 1] : desk.input;
        backward(p.layer[i], delta, below, x, desk.outputs[i], desk.kept[i], desk.turned, now);
        if (i == p.lowest || must_meet(p.layer[i], p.layer[i - 1])) now.team.meet();
        if (p.layer[i].kind == LINEAR) std::swap(delta, below);
    }
    const long ld = padded(p.features);
    const Range own = now.team.share(p.embeddings);
    for (long i = own.begin; i < own.end; i++) {
        const Embedding& e = p.embedding[i];
        std::memset(now.grads + e.place, 0, e.size * sizeof(Real));
        for (long b = 0; b < now.n; b++) {
            Real* one = now.grads + e.place + p.inputs->code(now.member, rows[b], e.category) * e.width;
            for (long j = 0; j < e.width; j++) one[j] += delta[b * ld + e.start + j];
        }
    }
    now.team.meet();
}

// The sum of squares of each column of the gradient.
static void sum_squares(const Program& p, Desk& desk, const Now& now) {
    Real* squares = desk.squares;
    for (long i = 0; i < p.pieces; i++) {
        const Piece& q = p.piece[i];
        const Range own = now.columns(q.width());
        const Real* x = now.grads + q.place + own.begin * q.cols;
        Real* to = squares + own.begin;
        down({0, own.size(), 0, own.size()}, q.cols, [=](long at, long) { return load(x + at) * load(x + at); },
             [=](long j, Vec sum) { store(to + j, sum); });
        squares += q.width();
    }
    now.team.meet();
}

// What the gradient is multiplied by; the norms of its pieces, unless `norms` is null.
static Real clipped(const Program& p, Desk& desk, Real limit, Real* norms) {
    double all = 0;
    const Real* squares = desk.squares;
    for (long i = 0; i < p.pieces; squares += p.piece[i++].width()) {
        const double own = along(squares, p.piece[i].width());
        if (norms) norms[i] = Real(std::sqrt(own));
        all += own;
    }
    const Real most = limit / (Real(std::sqrt(all)) + Real(1e-6));
    return most > 1 ? Real(1) : most;
}

// Each thread updates the columns that it also multiplies by, and fills the gradient of: they stay in its cache.
static void update_member(const Program& p, const Real* factor, Real clip, Own& own, const Now& now) {
    for (long i = p.pieces - 1; i >= 0; i--) {  // the first layer's last: they are multiplied by next
        const Piece& q = p.piece[i];
        const Range mine = now.columns(q.width());
        const long place = q.place + mine.begin * q.cols;
        Real* moments[4] = {};
        for (long m = 0; m < p.moments; m++) moments[m] = own.moments[m] + place;
        Real* average = p.averaged ? std::exchange(moments[p.moments - 1], nullptr) : nullptr;
        update(Rule(p.rule), factor, clip, Real(q.decayed), mine.size() * q.cols, own.params + place, now.grads + place,
               moments, average, p.averaged ? factor[p.factors - 1] : Real(0));
    }
}

static void train_member(const Program& p, const Run& run, long k, long begin, long end, Own& own, Desk& desk,
                         const Team& team) {
    const auto of = [&](const Real* numbers, long each) { return numbers ? numbers + k * each : nullptr; };
    const LossNumbers by{of(run.weights, p.loss == CROSS_ENTROPY ? p.outputs : 2), of(run.smoothing, 1),
                         of(run.delta, 1), of(run.quantile, 1), of(run.scale, p.scales), p.scales};
    const Hot hot = desk.hot(p, k);
    for (long s = begin; s < end; s++) {
        const int64_t* rows = run.rows + (s * p.members + k) * p.batch;
        const int32_t* keys = run.keys + (s * p.members + k) * p.places;
        const Now now{k, p.batch, true, own.params, desk.grads, keys, team, hot};
        gather(p, desk, rows, now);
        const Real* z = through(p, desk, now);
        if (team.index == 0)
            run.losses[s * p.members + k] =
                loss_and_delta(Loss(p.loss), z, run.targets, rows, desk.delta, p.batch, p.outputs, by);
        team.meet();
        back(p, desk, now, rows);
        sum_squares(p, desk, now);
        Real* norms = team.index == 0 ? run.norms + (s * p.members + k) * p.pieces : nullptr;
        const Real clip = clipped(p, desk, run.clip[k], norms);
        Real factor[MOST_FACTORS];
        for (long f = 0; f < p.factors; f++) factor[f] = run.factors[(s * p.factors + f) * p.members + k];
        update_member(p, factor, clip, own, now);
        team.meet();
    }
}

static void evaluate_member(const Program& p, const Evaluation& e, long k, Desk& desk, Numbers& params) {
    pack(p.piece, p.pieces, e.params + k * p.flat, params);
    const Hot hot = desk.hot(p, k);
    for (long start = 0; start < e.counts[k]; start += p.batch) {
        const long n = std::min(p.batch, e.counts[k] - start);
        const Now now{k, n, false, params, nullptr, nullptr, {}, hot};
        gather(p, desk, e.rows[k] + start, now);
        const Real* z = through(p, desk, now);
        for (long b = 0; b < n; b++)
            std::memcpy(e.outputs[k] + (start + b) * p.outputs, z + b * padded(p.outputs), p.outputs * sizeof(Real));
    }
}

// ------------------------------------------------------------------------------------------------ who works on what

// Members in turn, `slices` times each: a thread that is done with one takes the one that waits longest, so that five
// members keep two threads busy to the end.
class Turns {
  public:
    Turns(long members, long slices) : slices_(slices) {
        for (long k = 0; k < members; k++) waiting_.push_back({k, 0});
        left_ = members * slices;
    }

    struct Turn {
        long member, slice;
    };

    // False when none is left. A turn that is taken must be done, or others wait for it.
    bool take(Turn& turn) {
        for (;; std::this_thread::yield()) {
            const std::lock_guard<std::mutex> lock(mutex_);
            if (!left_) return false;
            if (waiting_.empty()) continue;  // all that are left are at work
            turn = waiting_.front();
            waiting_.pop_front();
            left_--;
            return true;
        }
    }

    void done(Turn turn) {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (turn.slice + 1 < slices_) waiting_.push_back({turn.member, turn.slice + 1});
    }

  private:
    const long slices_;
    long left_;
    std::deque<Turn> waiting_;
    std::mutex mutex_;
};

static void start_member(const Program& p, const Run& run, long k, Own& own, long team = 1) {
    own.params = Numbers(p.size);
    pack(p.piece, p.pieces, run.params + k * p.flat, own.params, team);
    for (long i = 0; i < p.moments; i++) {
        own.moments.emplace_back(p.size);
        pack(p.piece, p.pieces, run.moments[i] + k * p.flat, own.moments[i], team);
    }
}

static void end_member(const Program& p, const Run& run, long k, Own& own, long team = 1) {
    unpack(p.piece, p.pieces, own.params, run.params + k * p.flat, team);
    for (long i = 0; i < p.moments; i++)
        unpack(p.piece, p.pieces, own.moments[i], run.moments[i] + k * p.flat, team);
    own = Own();
}

static bool train_in_turns(const Program& p, const Run& run) {
    const long slices = p.members % p.threads && p.members < 4 * p.threads ? std::min(run.steps, 8L) : 1;
    std::vector<Own> owns(p.members);
    if (slices > 1)
        for (long k = 0; k < p.members; k++) start_member(p, run, k, owns[k]);
    Turns turns(p.members, slices);
    return on_threads(std::min(p.threads, p.members), [&](long) {
        Desk desk(p);
        for (Turns::Turn now; turns.take(now); turns.done(now)) {
            Own& own = owns[now.member];
            if (slices == 1) start_member(p, run, now.member, own);
            train_member(p, run, now.member, run.steps * now.slice / slices, run.steps * (now.slice + 1) / slices, own,
                         desk, Team());
            if (now.slice + 1 == slices) end_member(p, run, now.member, own);
        }
    });
}

static bool train_in_teams(const Program& p, const Run& run) {
    const long worth = 6 * p.flat * p.batch / WORTH_A_THREAD + 1;  // 2 operations for each weight and row, thrice
    const long size = std::min(p.threads / p.members, worth);
    struct Place {
        Meeting meeting;
        Desk desk;
        Own own;
        Place(long size, const Program& p) : meeting(size), desk(p) {}
    };
    std::vector<std::unique_ptr<Place>> places;
    for (long k = 0; k < p.members; k++) {
        places.push_back(std::make_unique<Place>(size, p));
        start_member(p, run, k, places[k]->own, size);
    }
    const bool good = on_threads(p.members * size, [&](long t) {
        Place& place = *places[t / size];
        train_member(p, run, t / size, 0, run.steps, place.own, place.desk, {t % size, size, &place.meeting});
    });
    for (long k = 0; k < p.members; k++) end_member(p, run, k, places[k]->own, size);
    return good;
}

extern "C" {

// Both return 1, or 0 if memory or threads ran out.
int64_t train(const Program* program, const Run* run) try {
    return program->members < program->threads ? train_in_teams(*program, *run) : train_in_turns(*program, *run);
} catch (const std::bad_alloc&) {
    return 0;
}

int64_t evaluate(const Program* program, const Evaluation* evaluation) try {
    const Program& p = *program;
    Turns turns(p.members, 1);
    return on_threads(std::min(p.threads, p.members), [&](long) {
        Desk desk(p);
        Numbers params(p.size);
        for (Turns::Turn now; turns.take(now); turns.done(now)) evaluate_member(p, *evaluation, now.member, desk, params);
    });
} catch (const std::bad_alloc&) {
    return 0;
}

int64_t vector_length() { return L; }

// The sizes of the structures, for whoever mirrors them.
int64_t size_of(int64_t which) {
    const int64_t sizes[] = {sizeof(Layer), sizeof(Piece), sizeof(Embedding), sizeof(Formula),
                             sizeof(Inputs), sizeof(Program), sizeof(Run), sizeof(Evaluation)};
    return sizes[which];
}
}
