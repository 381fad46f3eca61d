// Part of loops.h: spread over samples, and features that are 0 in all of them.

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
// `sweep` and `add_rows` in one read. Where an entry is not finite, neither are the sums afterwards.
template <class A, bool SAT, bool SHIFT>
TARGET static Swept sweep_rows(const A* x, int64_t rows, int64_t w, int64_t step, A shift, A below, A above,
                               const A* first, A* sum, A* square) {
  typedef typename Lanes<A>::V V;
  typedef typename Lanes<A>::I I;
  constexpr int N = Lanes<A>::N;
  const V zero = V{}, c = zero + shift, lower = zero + below, upper = zero + above;
  V s = zero, q = zero, a = zero, mn = zero + std::numeric_limits<A>::infinity(), mx = -mn;
  I z = I{}, t = I{};
  for (int64_t k = 0; k < w; k += N) {
    const V b = load<V>(first + k);
    V own = load<V>(sum + k), squares = load<V>(square + k);
    for (int64_t r = 0; r < rows; r++) {
      const V y = load<V>(x + r * step + k), d = SHIFT ? y - c : y, e = y - b;
      s += d;
      q += d * d;
      own += e;
      squares += e * e;
      a += absolute(y);
      mn = smaller(y, mn);
      mx = larger(y, mx);
      z = count_zeros(z, y);
      if (SAT) t -= (y < lower) | (y > upper);
    }
    store(sum + k, own);
    store(square + k, squares);
  }
  Swept found{0, 0, 0, kInf, -kInf, 0, 0};
  A total = 0, total_square = 0, l1 = 0, low = mn[0], high = mx[0];
  for (int k = 0; k < N; k++) {
    total += s[k]; total_square += q[k]; l1 += a[k];
    low = mn[k] < low ? mn[k] : low;
    high = mx[k] > high ? mx[k] : high;
    found.zeros += z[k];
    if (SAT) found.saturated += t[k];
  }
  found.sum = total; found.square = total_square; found.l1 = l1; found.low = low; found.high = high;
  return found;
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
  bool fast = true;  // until an entry is not finite
};
// Takes in `rows` stretches of `w` entries, and their spread. False where that is for `block` and `add_rows` to do: the
// width is no multiple of a vector's, or an entry is not finite; then sums that were gathered before are spoilt.
template <class A>
TARGET static bool at_once(const A* p, int64_t rows, int64_t w, int64_t step, const Saturation& sat, Sum& sum, Gathering<A>& g) {
  const A shift = near_mean(p, w, sum), low = static_cast<A>(sat.low), high = static_cast<A>(sat.high);
  const auto sweeps = counts(sat, sum) ? sweep_rows<A, true, true>
                      : shift != 0     ? sweep_rows<A, false, true>
                                       : sweep_rows<A, false, false>;
  const Swept r = sweeps(p, rows, w, step, shift, low, high, g.first, g.sum, g.square);
  g.fast = std::isfinite(r.square);
  if (g.fast) take_in(r, rows * w, double(shift), sum);
  return g.fast;
}
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
  alignas(64) A room[kMost], clean[kMost];
  Gathering<A> g;
  const int64_t many = kMost / out.period * out.period / s.entries;
  const auto rows_from = [&](int64_t r, int64_t rows) TARGET {
    const int64_t n = rows * s.entries;
    if (s.step == s.entries) return scaled(converted(v.kind, v.data + r * s.entries * v.size, n, room), n, scale, room);
    for (int64_t k = 0; k < rows; k++) {
      A* to = room + k * s.entries;
      const A* from = converted(v.kind, v.data + (r + k) * s.step * v.size, s.entries, to);
      if (from != to) __builtin_memcpy(to, from, s.entries * sizeof(A));
    }
    return scaled(static_cast<const A*>(room), n, scale, room);
  };
  const auto spread = [&](const A* p, int64_t n) TARGET {
    const int64_t full = n / out.period;
    add_rows(p, full, out.period, out.period, g.first, g.sum, g.square);
    add_rows(p + full * out.period, 1, n - full * out.period, 0, g.first, g.sum, g.square);
  };
  for (int64_t c = 0; c < out.period; c++) g.first[c] = A(out.first[c]), g.sum[c] = g.square[c] = 0;
  for (int64_t r = row, poured = row; r < last; r += many) {
    const int64_t rows = last - r < many ? last - r : many, n = rows * s.entries;
    const A* p = rows_from(r, rows);
    if (!g.fast || out.period % Lanes<A>::N != 0 || n % out.period != 0) {
      if (!block(p, n, 1, 0, r * s.entries, 0, sat, sum)) p = zeroed(p, n, clean);
      spread(p, n);
    } else if (!at_once(p, n / out.period, out.period, out.period, sat, sum, g)) {
      for (int64_t c = 0; c < out.period; c++) g.sum[c] = g.square[c] = 0;
      for (int64_t k = poured; k < r; k += many) spread(rows_from(k, many), many * s.entries);
      p = rows_from(r, rows);
      block(p, n, 1, 0, r * s.entries, 0, sat, sum);
      spread(zeroed(p, n, clean), n);
    }
    if ((g.held += n / out.period + 1) >= kHeap) pour(g, 0, out.period, out), poured = r + many;
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
