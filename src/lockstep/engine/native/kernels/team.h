// The threads of a call, and those of them that work on one member together. Everything is shared out by what it fills,
// never by what it sums, so a number is the same however many they are.
#pragma once
#include <atomic>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

#include "vectors.h"

struct Range {
    long begin, end;
    long size() const { return end - begin; }
};

// Columns of a batch of n rows: number (b, j) lies at row(b) + j.
struct Columns {
    long begin, end, place, ld;
    long size() const { return end - begin; }
    long row(long b) const { return place + b * ld - begin; }
};

class Meeting {  // nobody goes on before all are there
  public:
    explicit Meeting(long size) : size_(size) {}
    void wait() {
        const long round = round_.load();
        if (there_.fetch_add(1) + 1 == size_) {
            there_.store(0);
            round_.fetch_add(1);
            return;
        }
        for (long spins = 0; round_.load() == round; spins++)
            if (spins > 2000) std::this_thread::yield();
    }

  private:
    const long size_;
    std::atomic<long> there_{0}, round_{0};
};

struct Team {
    long index = 0, size = 1;
    Meeting* meeting = nullptr;

    Range share(long units) const { return {units * index / size, units * (index + 1) / size}; }
    Range columns(long ld) const {  // whole vectors of them
        const Range r = share(ld / L);
        return {r.begin * L, r.end * L};
    }
    // Those of `n` rows of `ld` numbers. `apart`: each thread's own lie together, for a core fetches what lies beside
    // too, and would take it from another that writes there.
    Columns columns(long ld, long n, bool apart) const {
        const Range r = columns(ld);
        return {r.begin, r.end, apart ? r.begin * n : r.begin, apart ? r.size() : ld};
    }
    void meet() const {
        if (size > 1) meeting->wait();
    }
};

// Runs work(0) … work(count − 1), each on a thread of its own; whether there was memory and a thread for each. None
// begins before all are there: in a team each waits for every other.
template <class F>
static bool on_threads(long count, F work) {
    std::atomic<bool> good{true};
    std::mutex start;
    const auto guarded = [&](long t) {
        start.lock();
        start.unlock();
        try {
            if (good) work(t);
        } catch (const std::bad_alloc&) {
            good = false;
        }
    };
    std::vector<std::thread> others;
    start.lock();
    try {
        for (long t = 1; t < count; t++) others.emplace_back(guarded, t);
    } catch (const std::exception&) {
        good = false;
    }
    start.unlock();
    guarded(0);
    for (auto& other : others) other.join();
    return good;
}
