// The inner loops. Included once per instruction set, with ISA (a namespace), NAME, TARGET (a function attribute) and
// WIDTH (bytes of a vector register) defined, which it takes away again; so neither this file nor its parts have an
// include guard. Vectors are the compiler's own (GCC and Clang).

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

#include "reading.h"
#include "blocks.h"
#include "samples.h"

constexpr Isa isa{NAME, flat, columns, finish, scan};

}  // namespace ISA
#undef ISA
#undef NAME
#undef TARGET
#undef WIDTH
