// The inner loops. Included once per instruction set, with ISA (a namespace), TARGET (a function attribute) and WIDTH
// (bytes of a vector register) defined; so there is no include guard. Vectors are the compiler's own (GCC and Clang).

namespace ISA {

template <class A> struct Lanes;
template <> struct Lanes<float> {
  typedef float V __attribute__((vector_size(WIDTH)));
  typedef int32_t I __attribute__((vector_size(WIDTH)));
  typedef uint32_t Bits;
  static constexpr int N = WIDTH / 4;
};
template <> struct Lanes<double> {
  typedef double V __attribute__((vector_size(WIDTH)));
  typedef int64_t I __attribute__((vector_size(WIDTH)));
  typedef uint64_t Bits;
  static constexpr int N = WIDTH / 8;
};

template <class V, class A> TARGET static inline V load(const A* p) { V v; __builtin_memcpy(&v, p, sizeof v); return v; }
template <class V, class A> TARGET static inline void store(A* p, V v) { __builtin_memcpy(p, &v, sizeof v); }

TARGET static inline Lanes<float>::V absolute(Lanes<float>::V x) {
  typedef Lanes<float>::I I;
  return (Lanes<float>::V)((I)x & 0x7fffffff);
}
TARGET static inline Lanes<double>::V absolute(Lanes<double>::V x) {
  typedef Lanes<double>::I I;
  return (Lanes<double>::V)((I)x & 0x7fffffffffffffffLL);
}
TARGET static inline float root(float x) { return __builtin_sqrtf(x); }
TARGET static inline double root(double x) { return __builtin_sqrt(x); }
template <class V> TARGET static inline V smaller(V x, V m) { return x < m ? x : m; }
template <class V> TARGET static inline V larger(V x, V m) { return x > m ? x : m; }

// ---- reading: entries [begin, begin + n) in single or double precision -------------------------------------------

template <class T, class A> TARGET static void widen(const char* from, int64_t n, A* to) {
  const T* p = reinterpret_cast<const T*>(from);
  for (int64_t i = 0; i < n; i++) to[i] = static_cast<A>(p[i]);
}
TARGET static void widen_bf16(const char* from, int64_t n, float* to) {
  const uint16_t* p = reinterpret_cast<const uint16_t*>(from);
  uint32_t* o = reinterpret_cast<uint32_t*>(to);
  for (int64_t i = 0; i < n; i++) o[i] = uint32_t(p[i]) << 16;
}
TARGET static void widen_f16(const char* from, int64_t n, float* to) {
  const uint16_t* p = reinterpret_cast<const uint16_t*>(from);
  uint32_t* o = reinterpret_cast<uint32_t*>(to);
  for (int64_t i = 0; i < n; i++) {  // the exponent is 5 bits with offset 15, a float's is 8 with offset 127
    const uint32_t bits = uint32_t(p[i] & 0x7fff) << 13;
    float f;
    __builtin_memcpy(&f, &bits, 4);
    f *= 0x1p112f;
    uint32_t wide;
    __builtin_memcpy(&wide, &f, 4);
    o[i] = wide | (f >= 65536.0f ? 0x7f800000u : 0u) | (uint32_t(p[i] & 0x8000) << 16);
  }
}
TARGET static void widen_bool(const char* from, int64_t n, float* to) {
  const uint8_t* p = reinterpret_cast<const uint8_t*>(from);
  for (int64_t i = 0; i < n; i++) to[i] = p[i] != 0 ? 1.0f : 0.0f;
}
TARGET static const float* converted(Kind kind, const char* from, int64_t n, float* to) {
  switch (kind) {
    case kF32: return reinterpret_cast<const float*>(from);
    case kBF16: widen_bf16(from, n, to); break;
    case kF16: widen_f16(from, n, to); break;
    case kBoolean: widen_bool(from, n, to); break;
    case kI8: widen<int8_t>(from, n, to); break;
    case kU8: widen<uint8_t>(from, n, to); break;
    case kI16: widen<int16_t>(from, n, to); break;
    case kU16: widen<uint16_t>(from, n, to); break;
    default: __builtin_unreachable();
  }
  return to;
}
TARGET static const double* converted(Kind kind, const char* from, int64_t n, double* to) {
  switch (kind) {
    case kF64: return reinterpret_cast<const double*>(from);
    case kI32: widen<int32_t>(from, n, to); break;
    case kU32: widen<uint32_t>(from, n, to); break;
    case kI64: widen<int64_t>(from, n, to); break;
    case kU64: widen<uint64_t>(from, n, to); break;
    default: __builtin_unreachable();
  }
  return to;
}
template <class A> TARGET static const A* scaled(const A* p, int64_t n, const Scale& scale, A* to) {
  if (scale.exponent == 0) return p;
  const A a = static_cast<A>(scale.first), b = static_cast<A>(scale.second);
  for (int64_t i = 0; i < n; i++) to[i] = p[i] * a * b;
  return to;
}
template <class T> TARGET static void collect(const View& v, int64_t begin, int64_t n, T* to) {
  const T* base = reinterpret_cast<const T*>(v.data);
  int64_t at[kDims], rest = begin, offset = 0;
  for (int d = v.ndim - 1; d >= 0; d--) {
    at[d] = rest % v.shape[d];
    rest /= v.shape[d];
    offset += at[d] * v.stride[d];
  }
  const int last = v.ndim - 1;
  const int64_t step = v.stride[last];
  for (int64_t i = 0; i < n;) {
    int64_t run = v.shape[last] - at[last];
    run = run < n - i ? run : n - i;
    const T* p = base + offset;
    for (int64_t k = 0; k < run; k++) to[i + k] = p[k * step];
    i += run;
    at[last] += run;
    offset += run * step;
    for (int d = last; d > 0 && at[d] == v.shape[d]; d--) {
      offset += v.stride[d - 1] - at[d] * v.stride[d];
      at[d] = 0;
      at[d - 1]++;
    }
  }
}
TARGET static void gather(const View& v, int64_t begin, int64_t n, char* to) {
  switch (v.size) {
    case 1: return collect(v, begin, n, reinterpret_cast<uint8_t*>(to));
    case 2: return collect(v, begin, n, reinterpret_cast<uint16_t*>(to));
    case 4: return collect(v, begin, n, reinterpret_cast<uint32_t*>(to));
    default: return collect(v, begin, n, reinterpret_cast<uint64_t*>(to));
  }
}
// At most kBlock entries, in memory order where the view is dense, else in logical order.
template <class A> TARGET static const A* read(const View& v, bool in_memory_order, int64_t begin, int64_t n, A* room) {
  if (in_memory_order) return converted(v.kind, v.data + begin * v.size, n, room);
  alignas(64) char raw[kBlock * 8];
  gather(v, begin, n, raw);
  const A* p = converted(v.kind, raw, n, room);
  if (p != room) __builtin_memcpy(room, p, n * sizeof(A));
  return room;
}

// ---- one block ------------------------------------------------------------------------------------------------------

struct Swept { double sum, square, l1, low, high; int64_t zeros, saturated; };

// Adds 1 to each lane in which x is 0.
#if WIDTH == 64
TARGET static inline Lanes<float>::I count_zeros(Lanes<float>::I z, Lanes<float>::V x) {
  const __mmask16 zero = _mm512_cmp_ps_mask((__m512)x, _mm512_setzero_ps(), _CMP_EQ_OQ);
  return (Lanes<float>::I)_mm512_mask_sub_epi32((__m512i)z, zero, (__m512i)z, _mm512_set1_epi32(-1));
}
#else
TARGET static inline Lanes<float>::I count_zeros(Lanes<float>::I z, Lanes<float>::V x) { return z - (x == Lanes<float>::V{}); }
#endif
TARGET static inline Lanes<double>::I count_zeros(Lanes<double>::I z, Lanes<double>::V x) { return z - (x == Lanes<double>::V{}); }

// One read for everything, of `rows` stretches of `n` entries, `step` apart. NaN passes min and max by and shows in
// `square`.
template <class A, bool SAT, bool SHIFT>
TARGET static Swept sweep(const A* p, int64_t n, int64_t rows, int64_t step, A shift, A below, A above) {
  typedef typename Lanes<A>::V V;
  typedef typename Lanes<A>::I I;
  constexpr int N = Lanes<A>::N;
  const V zero = V{}, c = zero + shift;
  const V lower = zero + below, upper = zero + above;
  V s0 = zero, s1 = zero, q0 = zero, q1 = zero, a0 = zero, a1 = zero;
  V mn = zero + std::numeric_limits<A>::infinity(), mx = -mn;
  I z = I{}, t = I{};
  Swept r{0, 0, 0, kInf, -kInf, 0, 0};
  for (int64_t row = 0; row < rows; row++, p += step) {
    int64_t i = 0;
    for (; i + 2 * N <= n; i += 2 * N) {
      const V x = load<V>(p + i), y = load<V>(p + i + N);
      const V d = SHIFT ? x - c : x, e = SHIFT ? y - c : y;
      s0 += d; s1 += e;
      q0 += d * d; q1 += e * e;
      a0 += absolute(x); a1 += absolute(y);
      mn = smaller(x, mn); mx = larger(x, mx);
      mn = smaller(y, mn); mx = larger(y, mx);
      z = count_zeros(z, x); z = count_zeros(z, y);
      if (SAT) { t -= (x < lower) | (x > upper); t -= (y < lower) | (y > upper); }
    }
    for (; i < n; i++) {
      const A x = p[i], d = x - shift;
      r.sum += d;
      r.square += double(d) * d;
      r.l1 += std::fabs(x);
      r.low = x < r.low ? x : r.low;
      r.high = x > r.high ? x : r.high;
      r.zeros += x == 0;
      if (SAT) r.saturated += x < below || x > above;
    }
  }
  if (n >= 2 * N) {
    const V s = s0 + s1, q = q0 + q1, a = a0 + a1;
    A sum = 0, square = 0, l1 = 0, low = mn[0], high = mx[0];
    for (int k = 0; k < N; k++) {
      sum += s[k]; square += q[k]; l1 += a[k];
      low = mn[k] < low ? mn[k] : low;
      high = mx[k] > high ? mx[k] : high;
      r.zeros += z[k];
      if (SAT) r.saturated += t[k];
    }
    r.sum += sum; r.square += square; r.l1 += l1;
    r.low = low < r.low ? low : r.low;
    r.high = high > r.high ? high : r.high;
  }
  return r;
}
template <class A>
TARGET static Swept swept(const A* p, int64_t n, int64_t rows, int64_t step, A shift, const Saturation& sat, bool counting) {
  const A low = static_cast<A>(sat.low), high = static_cast<A>(sat.high);
  if (counting) return sweep<A, true, true>(p, n, rows, step, shift, low, high);
  if (shift != 0) return sweep<A, false, true>(p, n, rows, step, shift, low, high);
  return sweep<A, false, false>(p, n, rows, step, A(0), low, high);
}
// With a value near the mean subtracted, squares keep their digits: the mean so far, else that of the first entries. 0
// where entries spread wider than the mean is far from 0, for then no digits are in danger.
template <class A> TARGET static A near_mean(const A* p, int64_t n, const Sum& sum) {
  if (sum.n > 0) return sum.mean * sum.mean * double(sum.n) <= sum.m2 ? A(0) : static_cast<A>(sum.mean);
  const int64_t few = n < 32 ? n : 32;
  double s = 0, q = 0;
  for (int64_t i = 0; i < few; i++) s += p[i], q += double(p[i]) * double(p[i]);
  const A shift = static_cast<A>(s / double(few));
  return !std::isfinite(shift) || 2 * s * s <= q * double(few) ? A(0) : shift;
}
// Returns whether all entries are finite. `at`: logical index of the first entry, as far as it is known; `row`: how far
// the next stretch's is from it.
template <class A>
TARGET static bool block(const A* p, int64_t n, int64_t rows, int64_t step, int64_t at, int64_t row, const Saturation& sat, Sum& sum) {
  const bool counting = sat.mode == Saturation::kAlways ||
                        (sat.mode == Saturation::kWithinOne && sum.low >= -1 && sum.high <= 1);
  A shift = near_mean(p, n, sum);
  Swept r = swept(p, n, rows, step, shift, sat, counting);
  A finite[kMost];
  bool clean = true;
  int64_t count = n * rows;
  if (!std::isfinite(r.square)) {
    count = 0;
    for (int64_t k = 0; k < rows; k++)
      for (int64_t i = 0; i < n; i++) {
        const A x = p[k * step + i];
        if (std::isfinite(x)) { finite[count++] = x; continue; }
        clean = false;
        sum.saw_bad(at + k * row + i);
        sum.bad++;
        sum.nans += x != x;
      }
    if (count == 0) return false;
    shift = near_mean(finite, count, sum);
    r = swept(finite, count, 1, 0, shift, sat, counting);
  }
  const double offset = r.sum / double(count), m2 = r.square - offset * r.sum;
  sum.join(count, double(shift) + offset, m2 > 0 ? m2 : 0);
  sum.l1 += r.l1;
  sum.low = r.low < sum.low ? r.low : sum.low;
  sum.high = r.high > sum.high ? r.high : sum.high;
  sum.zeros += r.zeros;
  sum.saturated += r.saturated;
  return clean;
}
// How far entries moved: in double precision, since squares of small updates vanish in single precision.
template <class A> TARGET static void moves(const A* now, const A* old, int64_t n, Sum& sum) {
  double s[8] = {};
  int64_t same = 0, i = 0;
  for (; i + 8 <= n; i += 8)
    for (int k = 0; k < 8; k++) {
      const A d = now[i + k] - old[i + k];
      s[k] += double(d) * double(d);
      same += d == 0;
    }
  for (; i < n; i++) {
    const A d = now[i] - old[i];
    s[0] += double(d) * double(d);
    same += d == 0;
  }
  for (double v : s) sum.moved += v;
  sum.changed += n - same;
}

// ---- a stretch of a tensor --------------------------------------------------------------------------------------------

template <class A>
TARGET static void flat_of(const View& v, const View* before, int64_t begin, int64_t end, const Saturation& sat,
                           const Scale& scale, Sum& sum) {
  alignas(64) A room[kBlock], other[kBlock];
  const bool memory = before ? v.ordered && before->ordered : v.dense;
  for (int64_t i = begin; i < end; i += kBlock) {
    const int64_t n = end - i < kBlock ? end - i : kBlock;
    const A* p = scaled(read(v, memory, i, n, room), n, scale, room);
    block(p, n, 1, 0, i, 0, sat, sum);
    if (before) moves(p, scaled(read(*before, memory, i, n, other), n, scale, other), n, sum);
  }
}
TARGET static void flat(const View& v, const View* before, int64_t begin, int64_t end, const Saturation& sat,
                        const Scale& scale, Sum& sum) {
  v.wide() ? flat_of<double>(v, before, begin, end, sat, scale, sum) : flat_of<float>(v, before, begin, end, sat, scale, sum);
}

// A plain sum over bytes: the least that any reading of them costs.
TARGET static uint64_t scan(const char* p, int64_t bytes) {
  typedef Lanes<double>::I I;
  I s[8] = {};
  int64_t i = 0;
  for (; i + 8 * WIDTH <= bytes; i += 8 * WIDTH)
    for (int k = 0; k < 8; k++) s[k] += load<I>(p + i + k * WIDTH);
  uint64_t total = 0;
  for (int k = 0; k < 8; k++)
    for (int n = 0; n < Lanes<double>::N; n++) total += uint64_t(s[k][n]);
  for (; i < bytes; i++) total += uint8_t(p[i]);
  return total;
}

// ---- samples: spread over them, and features that are 0 in all of them --------------------------------------------

constexpr int64_t kHeap = 128;   // samples summed in single precision before the sums move to double precision

// Adds `rows` samples of `w` entries, `step` apart, to sums of distances from `first`.
template <class A>
TARGET static void add_rows(const A* x, int64_t rows, int64_t w, int64_t step, const A* first, A* sum, A* square) {
  typedef typename Lanes<A>::V V;
  constexpr int N = Lanes<A>::N;
  int64_t c = 0;
  for (; c + N <= w; c += N) {
    const V b = load<V>(first + c);
    V s = load<V>(sum + c), q = load<V>(square + c);
    for (int64_t r = 0; r < rows; r++) {
      const V d = load<V>(x + r * step + c) - b;
      s += d;
      q += d * d;
    }
    store(sum + c, s);
    store(square + c, q);
  }
  for (; c < w; c++)
    for (int64_t r = 0; r < rows; r++) {
      const A d = x[r * step + c] - first[c];
      sum[c] += d;
      square[c] += d * d;
    }
}
template <class A> TARGET static const A* zeroed(const A* p, int64_t n, A* to) {
  for (int64_t i = 0; i < n; i++) to[i] = std::isfinite(p[i]) ? p[i] : A(0);
  return to;
}
// Row 0, the sample that distances are taken from.
template <class A> TARGET static void first_of(const View& v, int64_t begin, int64_t n, const Scale& scale, A* to) {
  zeroed(scaled(converted(v.kind, v.data + begin * v.size, n, to), n, scale, to), n, to);
}
// Features of the entries [at, at + w) of a sample that are not 0 in some sample.
template <class B> TARGET static void mark(const B* __restrict nonzero, int64_t at, int64_t w, const Samples& s, Columns& out) {
  uint8_t* __restrict alive = out.alive.data();
  int64_t f = at / s.feature_stride % s.features, run = s.feature_stride - at % s.feature_stride;
  for (int64_t c = 0; c < w;) {
    if (s.feature_stride == 1) {
      run = w - c < s.features - f ? w - c : s.features - f;
      for (int64_t k = 0; k < run; k++) alive[f + k] |= nonzero[c + k] != 0;
      f = 0;
    } else {
      run = run < w - c ? run : w - c;
      B any = 0;
      for (int64_t k = 0; k < run; k++) any |= nonzero[c + k];
      alive[f] |= any != 0;
      f = f + 1 == s.features ? 0 : f + 1;
    }
    c += run;
    run = s.feature_stride;
  }
}
template <class A> struct Gathering {  // sums in single precision on their way to `Columns`
  alignas(64) A first[kTile], sum[kTile], square[kTile];
  int64_t held = 0;
};
template <class A> TARGET static void pour(Gathering<A>& g, int64_t at, int64_t w, Columns& out) {
  for (int64_t c = 0; c < w; c++) {
    out.sum[at + c] += double(g.sum[c]);
    out.square[at + c] += double(g.square[c]);
    g.sum[c] = g.square[c] = 0;
  }
  g.held = 0;
}
// Samples shorter than a tile: several at once, side by side as if they were one sample of `period` entries.
template <class A>
TARGET static void short_samples(const View& v, const Samples& s, int64_t row, int64_t last, const Saturation& sat,
                                 const Scale& scale, Sum& sum, Columns& out) {
  alignas(64) A room[kBlock], clean[kBlock];
  Gathering<A> g;
  const int64_t many = kBlock / out.period * out.period / s.entries;
  for (int64_t c = 0; c < out.period; c++) g.first[c] = A(out.first[c]), g.sum[c] = g.square[c] = 0;
  for (int64_t r = row; r < last; r += many) {
    const int64_t rows = last - r < many ? last - r : many, n = rows * s.entries;
    const A* p = room;
    if (s.step == s.entries) {
      p = converted(v.kind, v.data + r * s.entries * v.size, n, room);
    } else {
      for (int64_t k = 0; k < rows; k++) {
        A* to = room + k * s.entries;
        const A* from = converted(v.kind, v.data + (r + k) * s.step * v.size, s.entries, to);
        if (from != to) __builtin_memcpy(to, from, s.entries * sizeof(A));
      }
    }
    p = scaled(p, n, scale, room);
    if (!block(p, n, 1, 0, r * s.entries, 0, sat, sum)) p = zeroed(p, n, clean);
    const int64_t full = n / out.period;
    add_rows(p, full, out.period, out.period, g.first, g.sum, g.square);
    add_rows(p + full * out.period, 1, n - full * out.period, 0, g.first, g.sum, g.square);
    if ((g.held += full + 1) >= kHeap) pour(g, 0, out.period, out);
  }
  pour(g, 0, out.period, out);
}
// All samples of a tile are in, and so few that single precision sufficed: no sums per entry have to be kept.
template <class A> TARGET static void settle(Gathering<A>& g, int64_t at, int64_t w, const Samples& s, bool holes, Columns& out) {
  typedef typename Lanes<A>::V V;
  typedef typename Lanes<A>::Bits Bits;
  constexpr int N = Lanes<A>::N;
  const A part = A(1) / A(s.rows);
  alignas(64) A deviation[kTile + N];
  for (int64_t c = 0; c < w; c++) {
    const A mean = g.sum[c] * part, variance = g.square[c] * part - mean * mean;
    deviation[c] = root(variance > 0 ? variance : A(0));
  }
  for (int64_t c = w; c < w + N; c++) deviation[c] = 0;
  V total = V{};
  for (int64_t c = 0; c < w; c += N) total += load<V>(deviation + c);
  for (int k = 0; k < N; k++) out.deviations += double(total[k]);
  Bits nonzero[kTile];
  if (holes) {
    const Bits *x = reinterpret_cast<Bits*>(g.first), *y = reinterpret_cast<Bits*>(g.sum), *z = reinterpret_cast<Bits*>(g.square);
    for (int64_t c = 0; c < w; c++) nonzero[c] = (x[c] | y[c] | z[c]) << 1;  // without the sign
  } else {
    for (int64_t c = 0; c < w; c++) nonzero[c] = 1;
  }
  mark(nonzero, at, w, s, out);
}
// Samples longer than a tile: tile by tile, all samples of each.
template <class A>
TARGET static void long_samples(const View& v, const Samples& s, int64_t row, int64_t last, const Saturation& sat,
                                const Scale& scale, Sum& sum, Columns& out) {
  constexpr int64_t many = kMost / kTile;
  alignas(64) A room[many * kTile], clean[many * kTile];
  Gathering<A> g;
  const bool direct = scale.exponent == 0 && v.size == sizeof(A) && (v.kind == kF32 || v.kind == kF64);
  for (int64_t c = out.begin; c < out.end; c += kTile) {
    const int64_t w = out.end - c < kTile ? out.end - c : kTile, holes = sum.zeros + sum.bad;
    first_of(v, c, w, scale, g.first);
    for (int64_t k = 0; k < w; k++) g.sum[k] = g.square[k] = 0;
    for (int64_t r = row; r < last; r += many) {
      const int64_t rows = last - r < many ? last - r : many;
      const A* p = direct ? reinterpret_cast<const A*>(v.data) + r * s.step + c : room;
      const int64_t step = direct ? s.step : kTile;
      for (int64_t k = 0; !direct && k < rows; k++) {
        A* to = room + k * kTile;
        const A* one = scaled(converted(v.kind, v.data + ((r + k) * s.step + c) * v.size, w, to), w, scale, to);
        if (one != to) __builtin_memcpy(to, one, w * sizeof(A));
      }
      if (block(p, w, rows, step, r * s.entries + c, s.entries, sat, sum)) {
        add_rows(p, rows, w, step, g.first, g.sum, g.square);
      } else {
        for (int64_t k = 0; k < rows; k++) zeroed(p + k * step, w, clean + k * kTile);
        add_rows(clean, rows, w, kTile, g.first, g.sum, g.square);
      }
      if (!out.settles && (g.held += rows) >= kHeap) pour(g, c - out.begin, w, out);
    }
    if (out.settles) {
      settle(g, c, w, s, holes != sum.zeros + sum.bad, out);
    } else {
      pour(g, c - out.begin, w, out);
    }
  }
}
template <class A>
TARGET static void columns_of(const View& v, const Samples& s, int64_t row, int64_t last, const Saturation& sat,
                              const Scale& scale, Sum& sum, Columns& out) {
  const int64_t w = out.end - out.begin;
  out.deviations = 0;
  out.alive.assign(s.features, 0);
  out.settles = s.entries > kTile && s.rows <= kHeap;
  if (!out.settles) {
    out.first.resize(out.period);
    out.sum.assign(out.period, 0);
    out.square.assign(out.period, 0);
    alignas(64) A room[kTile];
    for (int64_t c = 0; c < w; c += kTile) {
      const int64_t n = w - c < kTile ? w - c : kTile;
      first_of(v, out.begin + c, n, scale, room);
      for (int64_t k = 0; k < n; k++) out.first[c + k] = double(room[k]);
    }
    for (int64_t c = w; c < out.period; c++) out.first[c] = out.first[c - w];
  }
  s.entries <= kTile ? short_samples<A>(v, s, row, last, sat, scale, sum, out)
                     : long_samples<A>(v, s, row, last, sat, scale, sum, out);
}
TARGET static void columns(const View& v, const Samples& s, int64_t row, int64_t last, const Saturation& sat,
                           const Scale& scale, Sum& sum, Columns& out) {
  v.wide() ? columns_of<double>(v, s, row, last, sat, scale, sum, out) : columns_of<float>(v, s, row, last, sat, scale, sum, out);
}
// All samples are in: sums become the standard deviations' sum, and features that were ever other than 0 are marked.
TARGET static void finish(const Samples& s, Columns& out) {
  if (out.settles) return;
  const int64_t w = out.end - out.begin;
  for (int64_t c = w; c < out.period; c++) {
    out.sum[c % w] += out.sum[c];
    out.square[c % w] += out.square[c];
  }
  const double part = 1.0 / double(s.rows);
  std::vector<uint32_t> nonzero(w);
  for (int64_t c = 0; c < w; c++) nonzero[c] = (out.first[c] != 0) | (out.sum[c] != 0) | (out.square[c] != 0);
  for (int64_t c = 0; c < w; c++) {
    const double mean = out.sum[c] * part, variance = out.square[c] * part - mean * mean;
    out.deviations += __builtin_sqrt(variance > 0 ? variance : 0);
  }
  mark(nonzero.data(), out.begin, w, s, out);
}

constexpr Isa isa{NAME, flat, columns, finish, scan};

}  // namespace ISA
