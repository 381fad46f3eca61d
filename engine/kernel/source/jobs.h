// From a tensor to its row: how its entries lie, which pieces its work is cut into, and what their sums amount to.
#pragma once
#include <algorithm>
#include <memory>
#include <utility>

#include "dlpack.h"
#include "instructions.h"
#include "parts.h"

namespace {

constexpr int64_t kShared = 1 << 21;    // bytes of a call from which waking other threads (some 10 us) pays
constexpr int64_t kUnlocked = 1 << 18;  // bytes of a call from which other Python threads may run meanwhile
constexpr int64_t kNarrow = 64;         // shorter samples are joined until their sums fill vector registers
constexpr double kFloatSmall = 0x1p-30, kFloatLarge = 0x1p55;      // in between no square of a float that matters
constexpr double kDoubleSmall = 0x1p-480, kDoubleLarge = 0x1p480;  // is lost, nor is a block's sum of them

enum Field { COUNT, MEAN, STD, LOW, HIGH, ABSMAX, L1, L2, ZEROS, SATURATED, NONFINITE, NANS, FIRST, DEAD, SAMPLE_STD,
             MOVED, CHANGED, FIELDS };
enum Layout : int { FLAT, FEATURES_LAST, CHANNELS };

// ---- one tensor ---------------------------------------------------------------------------------------------------

struct Job {
  View view, before;
  bool compares = false, readable = false;
  Samples samples;  // rows: 0 when there is nothing to tell of samples
  int64_t pieces = 0;
  Saturation saturation;
  std::unique_ptr<char[]> copy;
  std::vector<Sum> sums;
  std::vector<Columns> columns;
};

Kind kind_of(const dlpack::Type& t) {
  if (t.lanes != 1) return kUnknown;
  switch (t.code) {
    case dlpack::kFloat: return t.bits == 32 ? kF32 : t.bits == 64 ? kF64 : t.bits == 16 ? kF16 : kUnknown;
    case dlpack::kBfloat: return t.bits == 16 ? kBF16 : kUnknown;
    case dlpack::kBool: return t.bits == 8 ? kBoolean : kUnknown;
    case dlpack::kInt: return t.bits == 8 ? kI8 : t.bits == 16 ? kI16 : t.bits == 32 ? kI32 : t.bits == 64 ? kI64 : kUnknown;
    case dlpack::kUInt: return t.bits == 8 ? kU8 : t.bits == 16 ? kU16 : t.bits == 32 ? kU32 : t.bits == 64 ? kU64 : kUnknown;
    default: return kUnknown;
  }
}

bool describe(const dlpack::Tensor& t, View& v) {
  v.kind = kind_of(t.type);
  v.size = t.type.bits / 8;
  if (t.device.type != dlpack::kCpu || v.kind == kUnknown) return false;
  v.n = 1;
  for (int d = 0; d < t.ndim; d++) v.n *= t.shape[d];
  if (v.n > 0 && t.data == nullptr) return false;  // a tensor without data of its own
  v.data = static_cast<const char*>(t.data) + t.byte_offset;
  v.ndim = 0;
  int64_t row_major = 1, reach = 1;
  for (int d = t.ndim - 1; d >= 0; d--) {  // from the last to the first; neighbours that lie in a row are joined
    const int64_t size = t.shape[d], stride = t.strides ? t.strides[d] : row_major;
    row_major *= size;
    if (size == 1) continue;
    if (v.ndim > 0 && stride == v.stride[v.ndim - 1] * v.shape[v.ndim - 1]) {
      v.shape[v.ndim - 1] *= size;
      continue;
    }
    if (v.ndim == kDims) return false;
    v.shape[v.ndim] = size;
    v.stride[v.ndim++] = stride;
  }
  if (v.ndim == 0) v.shape[0] = 1, v.stride[0] = 1, v.ndim = 1;
  std::reverse(v.shape, v.shape + v.ndim);
  std::reverse(v.stride, v.stride + v.ndim);
  v.ordered = v.ndim == 1 && v.stride[0] == 1;
  bool ascending = true;
  for (int d = 0; d < v.ndim; d++) {
    ascending &= v.stride[d] > 0;
    reach += (v.shape[d] - 1) * v.stride[d];
  }
  v.dense = v.ordered || (ascending && reach == v.n);
  return true;
}

// Whether samples (along the first dimension) are told of, and how they lie; gathers them where they are scattered.
void lay_out(const dlpack::Tensor& t, Layout layout, Job& job) {
  View& v = job.view;
  if (layout == FLAT || t.ndim < 2 || t.shape[0] < 2 || v.n == 0) return;
  Samples& s = job.samples;
  s.rows = t.shape[0];
  s.entries = v.n / s.rows;
  const int feature = layout == CHANNELS && t.ndim > 2 ? 1 : t.ndim - 1;
  s.features = t.shape[feature];
  int64_t reach = 1;
  bool scattered = t.strides && t.strides[0] < s.entries;
  for (int d = 1; t.strides && d < t.ndim; d++) {
    if (t.shape[d] == 1) continue;
    reach += (t.shape[d] - 1) * t.strides[d];
    scattered |= t.strides[d] <= 0;
  }
  scattered |= t.strides && reach != s.entries;
  int64_t behind = 1;
  for (int d = feature + 1; d < t.ndim; d++) behind *= t.shape[d];
  if (!scattered) {
    s.step = t.strides ? t.strides[0] : s.entries;
    s.feature_stride = t.strides && s.features > 1 ? t.strides[feature] : behind;
    return;
  }
  job.copy.reset(new char[v.n * v.size]);
  plain::gather(v, 0, v.n, job.copy.get());
  v.data = job.copy.get();
  v.ndim = 1; v.shape[0] = v.n; v.stride[0] = 1;
  v.dense = v.ordered = true;
  s.step = s.entries;
  s.feature_stride = behind;
}

void plan(Job& job) {
  const Samples& s = job.samples;
  if (s.rows == 0) {
    job.pieces = (job.view.n + kChunk - 1) / kChunk;
  } else if (s.entries <= kTile) {
    job.pieces = (s.rows + kChunk / s.entries - 1) / (kChunk / s.entries);
    job.columns.resize(job.pieces);
  } else {
    const int64_t tiles = (s.entries + kTile - 1) / kTile;
    job.pieces = std::min(tiles, (job.view.n + kChunk - 1) / kChunk);
    job.columns.resize(job.pieces);
  }
  job.sums.assign(job.pieces, Sum{});
}

void work_on(Job& job, int64_t piece, const Scale& scale) {
  const View& v = job.view;
  const Samples& s = job.samples;
  Sum& sum = job.sums[piece];
  if (s.rows == 0) {
    const int64_t begin = piece * kChunk;
    chosen->flat(v, job.compares ? &job.before : nullptr, begin, std::min(v.n, begin + kChunk), job.saturation, scale, sum);
    return;
  }
  Columns& c = job.columns[piece];
  if (s.entries <= kTile) {
    const int64_t many = kChunk / s.entries, joined = s.entries < kNarrow ? (kNarrow + s.entries - 1) / s.entries : 1;
    c.begin = 0;
    c.end = s.entries;
    c.period = s.entries * joined;
    chosen->columns(v, s, piece * many, std::min(s.rows, (piece + 1) * many), job.saturation, scale, sum, c);
    return;
  }
  const int64_t tiles = (s.entries + kTile - 1) / kTile;
  c.begin = tiles * piece / job.pieces * kTile;
  c.end = std::min(s.entries, tiles * (piece + 1) / job.pieces * kTile);
  c.period = c.end - c.begin;
  chosen->columns(v, s, 0, s.rows, job.saturation, scale, sum, c);
  chosen->finish(s, c);
}

// Deviations and features of all pieces.
void finish_samples(Job& job, const Scale& scale, double* row) {
  const Samples& s = job.samples;
  Columns& all = job.columns[0];
  if (s.entries <= kTile) {
    for (int64_t i = 1; i < job.pieces; i++)
      for (int64_t c = 0; c < all.period; c++) {
        all.sum[c] += job.columns[i].sum[c];
        all.square[c] += job.columns[i].square[c];
      }
    chosen->finish(s, all);
  } else {
    for (int64_t i = 1; i < job.pieces; i++) {
      all.deviations += job.columns[i].deviations;
      for (int64_t f = 0; f < s.features; f++) all.alive[f] |= job.columns[i].alive[f];
    }
  }
  row[SAMPLE_STD] = std::ldexp(all.deviations / double(s.entries), scale.exponent);
  row[DEAD] = double(std::count(all.alive.begin(), all.alive.end(), 0)) / double(s.features);
}

// The first entry, in logical order, that is not finite; a view that is not in memory order is read once more.
double first_bad(const Job& job, const Sum& sum) {
  const View& v = job.view;
  if (sum.bad == 0) return -1;
  if (v.ordered || (!v.dense && job.samples.rows == 0)) return double(sum.first);
  View logical = v;
  logical.dense = false;
  for (int64_t i = 0; i < v.n; i += kBlock) {
    Sum part;
    chosen->flat(logical, nullptr, i, std::min(v.n, i + kBlock), Saturation{}, Scale{}, part);
    if (part.first >= 0) return double(part.first);
  }
  return -1;
}

void tell(Job& job, double* row) {
  std::fill(row, row + FIELDS, kNan);
  if (!job.readable) return;
  row[COUNT] = double(job.view.n);
  row[NONFINITE] = row[NANS] = row[L1] = row[L2] = 0;
  row[FIRST] = -1;
  if (job.view.n == 0) return;
  Sum sum;
  for (const Sum& part : job.sums) sum.join(part);
  const double top = std::max(-sum.low, sum.high);
  row[NONFINITE] = double(sum.bad);
  row[NANS] = double(sum.nans);
  row[FIRST] = first_bad(job, sum);
  Scale scale;
  const bool wide = job.view.wide();
  if (sum.n > 0 && top > 0 && (top < (wide ? kDoubleSmall : kFloatSmall) || top > (wide ? kDoubleLarge : kFloatLarge))) {
    // Squares of such values do not fit: once more, with the largest brought near 1.
    scale.exponent = std::ilogb(top);
    scale.first = std::ldexp(1.0, -scale.exponent / 2);
    scale.second = std::ldexp(1.0, -scale.exponent - (-scale.exponent / 2));
    Sum again;
    const Saturation saturation = job.saturation;
    job.saturation = Saturation{};
    for (int64_t i = 0; i < job.pieces; i++) {
      job.sums[i] = Sum{};
      work_on(job, i, scale);
      again.join(job.sums[i]);
    }
    job.saturation = saturation;
    sum.mean = again.mean; sum.m2 = again.m2; sum.l1 = again.l1; sum.moved = again.moved;
  }
  if (job.samples.rows > 0) finish_samples(job, scale, row);
  if (job.compares) {
    row[MOVED] = std::ldexp(std::sqrt(sum.moved), scale.exponent);
    row[CHANGED] = double(sum.changed) / double(job.view.n);
  }
  if (sum.bad > 0) row[L1] = row[L2] = sum.nans > 0 ? kNan : kInf;
  if (sum.n == 0) return;
  const double n = double(sum.n);
  const bool constant = sum.low == sum.high;
  row[MEAN] = constant ? sum.low : std::ldexp(sum.mean, scale.exponent);
  row[STD] = constant ? 0 : std::ldexp(std::sqrt(sum.m2 / n), scale.exponent);
  row[LOW] = sum.low;
  row[HIGH] = sum.high;
  row[ABSMAX] = top;
  row[ZEROS] = double(sum.zeros) / n;
  if (sum.bad == 0) {
    row[L1] = std::ldexp(sum.l1, scale.exponent);
    row[L2] = std::ldexp(std::sqrt(sum.m2 + n * sum.mean * sum.mean), scale.exponent);
  }
  const auto mode = job.saturation.mode;
  if (mode == Saturation::kAlways || (mode == Saturation::kWithinOne && sum.low >= -1 && sum.high <= 1))
    row[SATURATED] = double(sum.saturated) / n;
}

struct Batch {
  std::vector<Job> jobs;
  std::vector<std::pair<int, int64_t>> pieces;
  static void piece(void* self, int64_t i) {
    Batch* batch = static_cast<Batch*>(self);
    const auto& [job, piece] = batch->pieces[i];
    work_on(batch->jobs[job], piece, Scale{});
  }
};

}  // namespace
