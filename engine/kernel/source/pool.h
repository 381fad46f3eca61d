// A few threads that share pieces of work with the caller. They sleep between jobs and are never joined: the pool is
// leaked on purpose, so that neither the interpreter's end nor a fork has to wait for them.
#pragma once
#include <pthread.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>

class Pool {
 public:
  typedef void (*Work)(void* context, int64_t piece);

  // Calls work(context, i) for every i below `pieces`, on at most `threads` threads, this one among them.
  static void share(int64_t pieces, int threads, Work work, void* context) {
    Pool* pool = threads > 1 && pieces > 1 ? instance() : nullptr;
    if (pool == nullptr || !pool->taken_.try_lock()) {  // another thread of the program is at it: do it alone
      for (int64_t i = 0; i < pieces; i++) work(context, i);
      return;
    }
    pool->run(pieces, threads < pieces ? threads : int(pieces), work, context);
    pool->taken_.unlock();
  }

 private:
  static Pool*& pointer() { static Pool* pool = nullptr; return pool; }
  static Pool* instance() {
    static std::once_flag once;
    std::call_once(once, [] {
      pthread_atfork(nullptr, nullptr, [] { pointer() = new Pool; });  // the child has none of the parent's threads
      pointer() = new Pool;
    });
    return pointer();
  }
  void run(int64_t pieces, int threads, Work work, void* context) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      while (size_ < threads - 1) {
        try {
          std::thread([this] { serve(); }).detach();
        } catch (...) {  // the system has no thread to give: the others do it
          break;
        }
        size_++;
      }
      work_ = work; context_ = context; pieces_ = pieces; wanted_ = threads - 1;
      next_.store(0);
    }
    wake_.notify_all();
    help(work, context, pieces);
    std::unique_lock<std::mutex> lock(mutex_);
    wanted_ = 0;
    done_.wait(lock, [this] { return inside_ == 0; });
  }
  void help(Work work, void* context, int64_t pieces) {
    for (int64_t i; (i = next_.fetch_add(1)) < pieces;) work(context, i);
  }
  void serve() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      wake_.wait(lock, [this] { return wanted_ > 0; });
      wanted_--;
      inside_++;
      const Work work = work_;
      void* const context = context_;
      const int64_t pieces = pieces_;
      lock.unlock();
      help(work, context, pieces);
      lock.lock();
      if (--inside_ == 0) done_.notify_one();
    }
  }

  std::mutex taken_, mutex_;
  std::condition_variable wake_, done_;
  std::atomic<int64_t> next_{0};
  Work work_ = nullptr;
  void* context_ = nullptr;
  int64_t pieces_ = 0;
  int size_ = 0, wanted_ = 0, inside_ = 0;
};
