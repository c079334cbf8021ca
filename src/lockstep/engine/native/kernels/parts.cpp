// A part of a network, several layers in a row, for all members of a stack: forward, and backward from the input and δ.
//
// Nothing is kept from the one to the other: the way back goes forward once more, some samples at a time, so that all
// between its input and its output stays in the cache. Which samples go together, and in which order gradients are
// summed, follows from shapes alone: a number is the same however many threads and members there are.
// lockstep/engine/native/parts.py fills the structures below.
#include <algorithm>
#include <deque>
#include <vector>

#include "attention.h"
#include "images.h"
#include "memory.h"
#include "recurrence.h"

constexpr long ROWS_AT_ONCE = 256, LEAST_SAMPLES = 8, MOST_GROUPS = 4;

struct Part {
    int64_t members, samples, inputs, outputs, flat, size, steps, pieces, places, together, training, threads;
    const Step* step;
    const Piece* piece;
    const Real* x;           // [K, samples, rows, inputs]
    const Real* params;      // [K, flat]
    const int32_t* keys;     // [K, places]
    const uint8_t* mask;     // [K, samples, rows] or null
    Real* y;                 // [K, samples, rows of the output, outputs]; δ of it on the way back
    Real* to_x;              // as x, or null
    Real* to_params;         // [K, flat]

    // The samples that go together: all where a layer needs the whole batch.
    long chunk() const {
        const long rows = ROWS_AT_ONCE / step[0].rows;
        return together ? samples : std::min(samples, std::max(rows, LEAST_SAMPLES));
    }
    long chunks() const { return (samples + chunk() - 1) / chunk(); }
    long groups() const { return std::min(chunks(), MOST_GROUPS); }
    const Step& last() const { return step[steps - 1]; }
};

static bool widens(const Layer& l) { return l.kind == LINEAR || (l.kind >= ATTENTION && l.kind <= RECURRENCE); }

struct Desk {
    Numbers params, grads, input, delta, below, scratch;
    std::vector<Numbers> outputs, kept, around;
    size_t bytes;

    explicit Desk(const Part& p) : params(p.size), grads(p.size) {
        const long n = p.chunk();
        long widest = p.step[0].rows * padded(p.inputs), most = 1;
        input = Numbers(n * widest + L);
        for (long i = 0; i < p.steps; i++) {
            const Step& s = p.step[i];
            const Layer& l = s.layer;
            long keep = kept_by(l, n * s.rows), need = l.kind == LINEAR ? l.out * padded(l.in) : 0;
            switch (l.kind) {
                case ATTENTION: keep = n * Heads(s).weights(), need = Heads(s).scratch(); break;
                case CONVOLUTION: keep = n * Windows(s).outputs(), need = Windows(s).scratch(); break;
                case RECURRENCE: keep = n * Recurrence(s).kept(), need = Recurrence(s).scratch(n); break;
            }
            outputs.emplace_back(n * s.rows_out * padded(l.out) + L);
            kept.emplace_back(keep);
            around.emplace_back(l.kind == SUM ? n * s.rows * padded(l.out) : 0);
            widest = std::max({widest, s.rows * padded(l.in), s.rows_out * padded(l.out)});
            most = std::max(most, need);
        }
        delta = Numbers(n * widest + L);
        below = Numbers(n * widest + L);
        scratch = Numbers(most);
        long all = 2 * p.size + most + 3 * n * widest;
        for (long i = 0; i < p.steps; i++) all += 2 * n * p.step[i].rows_out * padded(p.step[i].layer.out);
        bytes = all * sizeof(Real);
    }
    const Real* into(long i) { return i ? outputs[i - 1] : input; }
};

// Desks that nobody works at, kept for the next call that needs the same: to make one touches all its memory. What is
// read of a desk in a call was written in that call, but for padding, which nobody ever fills with anything but 0.
class Desks {
  public:
    using Key = std::vector<int64_t>;
    static constexpr size_t MOST_BYTES = 128'000'000;

    static Key key(const Part& p) {
        Key key{p.chunk(), p.size, p.inputs};
        for (long i = 0; i < p.steps; i++) {
            const Step& s = p.step[i];
            const Layer& l = s.layer;
            key.insert(key.end(), {l.kind, l.function, l.in, l.out, l.groups, s.rows, s.rows_out, s.height, s.width, s.kernel,
                                   s.pool, s.unpadded});
        }
        return key;
    }

    std::unique_ptr<Desk> take(const Part& p, const Key& key) {
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            for (auto at = idle_.begin(); at != idle_.end(); ++at)
                if (at->first == key) {
                    std::unique_ptr<Desk> found = std::move(at->second);
                    bytes_ -= found->bytes;
                    idle_.erase(at);
                    return found;
                }
        }
        return std::make_unique<Desk>(p);
    }

    void give(const Key& key, std::unique_ptr<Desk> desk) {
        const std::lock_guard<std::mutex> lock(mutex_);
        bytes_ += desk->bytes;
        idle_.emplace_back(key, std::move(desk));
        for (; bytes_ > MOST_BYTES; idle_.pop_front()) bytes_ -= idle_.front().second->bytes;
    }

  private:
    std::mutex mutex_;
    size_t bytes_ = 0;
    std::deque<std::pair<Key, std::unique_ptr<Desk>>> idle_;
};

static Desks desks;

struct Chunk {
    long member, begin, samples;
    Now now(const Part& p, const Step& s, Desk& desk) const {
        return {member, samples * s.rows, p.training != 0, desk.params, desk.grads, p.keys + member * p.places,
                Team(), Hot(), begin * s.rows};
    }
    const uint8_t* mask(const Part& p) const {
        return p.mask ? p.mask + (member * p.samples + begin) * p.step[0].rows : nullptr;
    }
};

static void rows_in(const Real* from, Real* to, long n, long width) {
    for (long b = 0; b < n; b++) std::memcpy(to + b * padded(width), from + b * width, width * sizeof(Real));
}

static void rows_out(const Real* from, Real* to, long n, long width) {
    for (long b = 0; b < n; b++) std::memcpy(to + b * width, from + b * padded(width), width * sizeof(Real));
}

static void through(const Part& p, Desk& desk, const Chunk& c) {
    const Real* from = p.x + (c.member * p.samples + c.begin) * p.step[0].rows * p.inputs;
    const long count = c.samples * p.step[0].rows;
    if (p.step[0].unpadded)
        std::memcpy(desk.input, from, count * p.inputs * sizeof(Real));
    else
        rows_in(from, desk.input, count, p.inputs);
    for (long i = 0; i < p.steps; i++) {
        const Step& s = p.step[i];
        const Real* x = desk.into(i);
        Real *y = desk.outputs[i], *kept = desk.kept[i];
        const Now now = c.now(p, s, desk);
        switch (s.layer.kind) {
            case ATTENTION: attention(s, x, y, kept, desk.scratch, c.mask(p), c.samples); break;
            case CONVOLUTION: convolution(s, x, y, kept, desk.scratch, c.samples, now); break;
            case RECURRENCE: recurrence(s, x, y, kept, desk.scratch, c.mask(p), c.samples, now); break;
            case SUM:
                map2(x, desk.into(s.layer.place), y, {0, now.n * padded(s.layer.out)}, [](Vec a, Vec b) { return a + b; });
                break;
            default: forward(s.layer, x, y, kept, now);
        }
    }
}

static void back(const Part& p, Desk& desk, const Chunk& c) {
    Real *delta = desk.delta, *below = desk.below;
    rows_in(p.y + (c.member * p.samples + c.begin) * p.last().rows_out * p.outputs, delta, c.samples * p.last().rows_out,
            p.outputs);
    clear_padding(delta, c.samples * p.last().rows_out, p.outputs);
    for (long i = p.steps - 1; i >= 0; i--) {
        const Step& s = p.step[i];
        const Real* x = desk.into(i);
        Real* kept = desk.kept[i];
        const Now now = c.now(p, s, desk);
        const long count = now.n * padded(s.layer.in);
        switch (s.layer.kind) {
            case ATTENTION: attention_back(s, delta, below, x, kept, desk.scratch, c.samples); break;
            case CONVOLUTION: convolution_back(s, delta, below, x, kept, desk.scratch, c.samples, now); break;
            case RECURRENCE: recurrence_back(s, delta, below, kept, desk.scratch, c.mask(p), c.samples, now); break;
            case SUM: std::memcpy(desk.around[i], delta, count * sizeof(Real)); break;
            default: backward(s.layer, delta, below, x, desk.outputs[i], kept, desk.scratch, now);
        }
        if (widens(s.layer)) std::swap(delta, below);
        for (long j = i + 1; j < p.steps; j++)  // what went around this layer and those above it
            if (p.step[j].layer.kind == SUM && p.step[j].layer.place == i)
                map2(delta, desk.around[j], delta, {0, count}, [](Vec a, Vec b) { return a + b; });
    }
    if (p.to_x)
        rows_out(delta, p.to_x + (c.member * p.samples + c.begin) * p.step[0].rows * p.inputs,
                 c.samples * p.step[0].rows, p.inputs);
}

// The chunks of a member in groups, each with its sum of gradients: work(desk, chunk, group) for all of them.
template <class F>
static bool each_chunk(const Part& p, F work) {
    const long groups = p.groups(), chunks = p.chunks(), size = p.chunk();
    const Desks::Key key = Desks::key(p);
    std::atomic<long> next{0};
    return on_threads(std::min(p.threads, p.members * groups), [&](long) {
        std::unique_ptr<Desk> own = desks.take(p, key);
        Desk& desk = *own;
        for (long turn; (turn = next++) < p.members * groups;) {
            const long k = turn / groups, g = turn % groups;
            pack(p.piece, p.pieces, p.params + k * p.flat, desk.params);
            for (long c = chunks * g / groups; c < chunks * (g + 1) / groups; c++)
                work(desk, Chunk{k, c * size, std::min(size, p.samples - c * size)}, turn);
        }
        desks.give(key, std::move(own));
    });
}

extern "C" {

// Both return 1, or 0 if memory or threads ran out.
int64_t part_forward(const Part* part) try {
    const Part& p = *part;
    return each_chunk(p, [&](Desk& desk, const Chunk& c, long) {
        through(p, desk, c);
        rows_out(desk.outputs[p.steps - 1], p.y + (c.member * p.samples + c.begin) * p.last().rows_out * p.outputs,
                 c.samples * p.last().rows_out, p.outputs);
    });
} catch (const std::bad_alloc&) {
    return 0;
}

int64_t part_backward(const Part* part) try {
    const Part& p = *part;
    const long groups = p.groups();
    std::vector<Numbers> sums;
    for (long i = 0; i < p.members * groups; i++) sums.emplace_back(p.size);
    const bool good = each_chunk(p, [&](Desk& desk, const Chunk& c, long turn) {
        through(p, desk, c);
        back(p, desk, c);
        map2(desk.grads, sums[turn], sums[turn], {0, padded(p.size)}, [](Vec a, Vec b) { return a + b; });
    });
    for (long k = 0; k < p.members; k++) {
        Real* total = sums[k * groups];
        for (long g = 1; g < groups; g++)
            map2(sums[k * groups + g], total, total, {0, padded(p.size)}, [](Vec a, Vec b) { return a + b; });
        unpack(p.piece, p.pieces, total, p.to_params + k * p.flat);
    }
    return good;
} catch (const std::bad_alloc&) {
    return 0;
}

int64_t vector_length() { return L; }

// The sizes of the structures, for whoever mirrors them.
int64_t size_of(int64_t which) {
    const int64_t sizes[] = {sizeof(Layer), sizeof(Piece), sizeof(Step), sizeof(Part)};
    return sizes[which];
}
}
