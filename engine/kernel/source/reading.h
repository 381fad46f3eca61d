// Part of loops.h: entries of a tensor, of whatever type and layout, in single or double precision.

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
  int64_t i = 0;
#if WIDTH == 64
  for (; i + 16 <= n; i += 16)
    _mm512_storeu_ps(to + i, _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + i))));
#endif
  for (; i < n; i++) {  // the exponent is 5 bits with offset 15, a float's is 8 with offset 127
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
