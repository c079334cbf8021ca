// The threads that work on one member together. Everything is shared out by what it fills, never by what it sums, so a
// number is the same however many they are.
#pragma once
#include <atomic>
#include <thread>

struct Range {
    long begin, end;
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
    void meet() const {
        if (size > 1) meeting->wait();
    }
};
