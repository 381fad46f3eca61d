// What one tensor is, what is asked about it, and the sums that parts of it are gathered in.
#pragma once
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr int kDims = 12;  // after neighbouring dimensions are joined no tensor of a training run has more
constexpr int64_t kBlock = 2048;  // entries that stay in the first-level cache and in single precision before they are summed up
constexpr int64_t kMost = 8192;   // the same, of several stretches
constexpr int64_t kTile = 1024;   // entries of a sample that are gathered at once, where samples are long
constexpr int64_t kChunk = 1 << 17;  // entries of one piece of work: half a megabyte, about twenty microseconds

enum Kind : int { kF32, kF64, kBF16, kF16, kBoolean, kI8, kU8, kI16, kU16, kI32, kU32, kI64, kU64, kUnknown };

struct BFloat16 { uint16_t bits; };  // the upper half of a float

struct View {  // strides in entries
  const char* data = nullptr;
  Kind kind = kUnknown;
  int size = 0;  // bytes of an entry
  int ndim = 0;
  int64_t n = 0;
  int64_t shape[kDims], stride[kDims];
  bool dense = false;    // the entries fill one stretch of memory, in whatever order
  bool ordered = false;  // and that order is the logical one
  bool lies_like(const View& o) const {  // entries at the same place of memory are the same entries
    bool same = o.dense && ndim == o.ndim;
    for (int d = 0; same && d < ndim; d++) same = shape[d] == o.shape[d] && stride[d] == o.stride[d];
    return same;
  }
  bool wide() const { return kind == kF64 || kind >= kI32; }  // needs double precision
};

struct Saturation {
  enum Mode : int { kNever, kAlways, kWithinOne } mode = kNever;
  double low = -0.99, high = 0.99;
};

// A sample is a stretch of `entries`; feature of an entry: (entry / feature_stride) % features.
struct Samples { int64_t rows = 0, entries = 0, step = 0, features = 0, feature_stride = 1; };

// Multiplied onto every entry, in two factors since one alone may not be representable.
struct Scale { double first = 1, second = 1; int exponent = 0; };

struct Sum {  // of the finite entries seen so far
  int64_t n = 0, zeros = 0, saturated = 0, bad = 0, nans = 0, first = -1, changed = 0;
  double low = kInf, high = -kInf, mean = 0, m2 = 0, l1 = 0, moved = 0;

  // Chan, Golub and LeVeque's rule for joining means and squared deviations.
  void join(int64_t count, double its_mean, double its_m2) {
    if (count == 0) return;
    const double all = double(n + count), delta = its_mean - mean;
    mean += delta * (double(count) / all);
    m2 += its_m2 + delta * delta * (double(n) * double(count) / all);
    n += count;
  }
  void saw_bad(int64_t at) { first = first < 0 || at < first ? at : first; }
  void join(const Sum& o) {
    join(o.n, o.mean, o.m2);
    zeros += o.zeros; saturated += o.saturated; bad += o.bad; nans += o.nans; changed += o.changed;
    low = o.low < low ? o.low : low;
    high = o.high > high ? o.high : high;
    l1 += o.l1; moved += o.moved;
    if (o.first >= 0) saw_bad(o.first);
  }
};

struct Columns {  // sums of distances from the first sample, per entry of a sample
  int64_t begin = 0, end = 0, period = 0;
  std::vector<double> first, sum, square;
  double deviations = 0;  // their sum over entries
  bool settles = false;   // whether tiles settle deviations themselves, without sums per entry
  std::vector<uint8_t> alive;  // per feature
};

struct Isa {  // the inner loops, compiled for one instruction set
  const char* name;
  void (*flat)(const View&, const View* before, int64_t begin, int64_t end, const Saturation&, const Scale&, Sum&);
  void (*columns)(const View&, const Samples&, int64_t row, int64_t last_row, const Saturation&, const Scale&, Sum&, Columns&);
  void (*finish)(const Samples&, Columns&);
  uint64_t (*scan)(const char*, int64_t bytes);
};
