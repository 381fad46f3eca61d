// Part of loops.h: the statistics of a block that lies in the first-level cache, and of a stretch of a tensor.

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

// Two vectors of entries as they lie in memory, in whatever order of lanes; and one entry.
template <class A> TARGET static inline void two(const A* p, typename Lanes<A>::V& x, typename Lanes<A>::V& y) {
  x = load<typename Lanes<A>::V>(p);
  y = load<typename Lanes<A>::V>(p + Lanes<A>::N);
}
TARGET static inline void two(const BFloat16* p, Lanes<float>::V& x, Lanes<float>::V& y) {
  const Lanes<float>::I pairs = load<Lanes<float>::I>(p);
  x = (Lanes<float>::V)(pairs << 16);
  y = (Lanes<float>::V)(pairs & -65536);
}
template <class A> TARGET static inline A one(A x) { return x; }
TARGET static inline float one(BFloat16 x) {
  const uint32_t bits = uint32_t(x.bits) << 16;
  float f;
  __builtin_memcpy(&f, &bits, 4);
  return f;
}

// One read for everything, of `rows` stretches of `n` entries, `step` apart. NaN passes min and max by and shows in
// `square`.
template <class A, class S, bool SAT, bool SHIFT>
TARGET static Swept sweep(const S* p, int64_t n, int64_t rows, int64_t step, A shift, A below, A above) {
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
      V x, y;
      two(p + i, x, y);
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
      const A x = one(p[i]), d = x - shift;
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
template <class A, class S>
TARGET static Swept swept(const S* p, int64_t n, int64_t rows, int64_t step, A shift, const Saturation& sat, bool counting) {
  const A low = static_cast<A>(sat.low), high = static_cast<A>(sat.high);
  if (counting) return sweep<A, S, true, true>(p, n, rows, step, shift, low, high);
  if (shift != 0) return sweep<A, S, false, true>(p, n, rows, step, shift, low, high);
  return sweep<A, S, false, false>(p, n, rows, step, A(0), low, high);
}
TARGET static bool counts(const Saturation& sat, const Sum& sum) {
  return sat.mode == Saturation::kAlways || (sat.mode == Saturation::kWithinOne && sum.low >= -1 && sum.high <= 1);
}
TARGET static void take_in(const Swept& r, int64_t count, double shift, Sum& sum) {
  const double offset = r.sum / double(count), m2 = r.square - offset * r.sum;
  sum.join(count, shift + offset, m2 > 0 ? m2 : 0);
  sum.l1 += r.l1;
  sum.low = r.low < sum.low ? r.low : sum.low;
  sum.high = r.high > sum.high ? r.high : sum.high;
  sum.zeros += r.zeros;
  sum.saturated += r.saturated;
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
  const bool counting = counts(sat, sum);
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
  take_in(r, count, double(shift), sum);
  return clean;
}
#if WIDTH == 64 && defined(HAS_DOT_PRODUCTS)
// `sweep` of whole vectors, two entries a lane: sums by dot products, and the bits' own order for least and largest.
__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,popcnt")))
static Swept dots(const BFloat16* p, int64_t n) {
  const __m512i magnitude = _mm512_set1_epi16(0x7fff), ones = _mm512_set1_epi16(0x3f80);
  __m512 s0 = _mm512_setzero_ps(), s1 = s0, q0 = s0, q1 = s0, a0 = s0, a1 = s0;
  __m512i top = _mm512_set1_epi16(-0x8000), deepest = _mm512_setzero_si512(), nearest = _mm512_set1_epi16(-1);
  int64_t zeros = 0;
  for (int64_t i = 0; i < n; i += 64) {
    const __m512i x = _mm512_loadu_si512(p + i), y = _mm512_loadu_si512(p + i + 32);
    s0 = _mm512_dpbf16_ps(s0, (__m512bh)x, (__m512bh)ones);
    s1 = _mm512_dpbf16_ps(s1, (__m512bh)y, (__m512bh)ones);
    q0 = _mm512_dpbf16_ps(q0, (__m512bh)x, (__m512bh)x);
    q1 = _mm512_dpbf16_ps(q1, (__m512bh)y, (__m512bh)y);
    a0 = _mm512_dpbf16_ps(a0, (__m512bh)_mm512_and_si512(x, magnitude), (__m512bh)ones);
    a1 = _mm512_dpbf16_ps(a1, (__m512bh)_mm512_and_si512(y, magnitude), (__m512bh)ones);
    top = _mm512_max_epi16(top, _mm512_max_epi16(x, y));
    deepest = _mm512_max_epu16(deepest, _mm512_max_epu16(x, y));
    nearest = _mm512_min_epu16(nearest, _mm512_min_epu16(x, y));
    const uint64_t both = uint64_t(_mm512_testn_epi16_mask(x, magnitude)) << 32 | _mm512_testn_epi16_mask(y, magnitude);
    zeros += __builtin_popcountll(both);
  }
  alignas(64) int16_t tops[32];
  alignas(64) uint16_t deep[32], near[32];
  _mm512_store_si512(tops, top); _mm512_store_si512(deep, deepest); _mm512_store_si512(near, nearest);
  int16_t highest = tops[0];
  uint16_t lowest = deep[0], least = near[0];  // as unsigned numbers negative entries come last, the lowest at the end
  for (int k = 1; k < 32; k++) {
    highest = tops[k] > highest ? tops[k] : highest;
    lowest = deep[k] > lowest ? deep[k] : lowest;
    least = near[k] < least ? near[k] : least;
  }
  Swept r{0, 0, 0, 0, 0, zeros, 0};
  r.sum = _mm512_reduce_add_ps(_mm512_add_ps(s0, s1));
  r.square = _mm512_reduce_add_ps(_mm512_add_ps(q0, q1));
  r.l1 = _mm512_reduce_add_ps(_mm512_add_ps(a0, a1));
  r.low = one(BFloat16{lowest >= 0x8000 ? lowest : least});
  r.high = one(BFloat16{highest >= 0 ? uint16_t(highest) : least});
  return r;
}
TARGET static bool dotted(int64_t n) { return n % 64 == 0 && has_dot_products; }
#else
TARGET static Swept dots(const BFloat16*, int64_t) { return Swept{}; }
TARGET static bool dotted(int64_t) { return false; }
#endif
// The same of bfloat16 as it lies in memory; false, and nothing is taken in, where that takes a closer look: at the first
// entries, and where one is not finite.
TARGET static bool as_it_lies(const BFloat16* p, int64_t n, const Saturation& sat, Sum& sum) {
  if (sum.n == 0) return false;
  const float shift = near_mean(static_cast<const float*>(nullptr), 0, sum);
  const bool counting = counts(sat, sum);
  const Swept r = shift == 0 && !counting && dotted(n) ? dots(p, n) : swept(p, n, 1, 0, shift, sat, counting);
  if (!std::isfinite(r.square)) return false;
  take_in(r, n, double(shift), sum);
  return true;
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

template <class A>
TARGET static void flat_of(const View& v, const View* before, int64_t begin, int64_t end, const Saturation& sat,
                           const Scale& scale, Sum& sum) {
  alignas(64) A room[kBlock], other[kBlock];
  const bool memory = v.dense && (!before || v.lies_like(*before));
  const bool brief = v.kind == kBF16 && memory && !before && scale.exponent == 0;
  for (int64_t i = begin, n; i < end; i += n) {
    n = end - i < kMost ? end - i : kMost;
    if (brief && as_it_lies(reinterpret_cast<const BFloat16*>(v.data) + i, n, sat, sum)) continue;
    n = end - i < kBlock ? end - i : kBlock;
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
