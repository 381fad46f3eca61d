// The inner loops for every instruction set that this compiler can aim at, and the choice among them at run time.
#pragma once
#include "parts.h"

#if defined(__x86_64__)
#include <immintrin.h>
#if __has_include(<avx512bf16intrin.h>)
#define HAS_DOT_PRODUCTS
static bool has_dot_products = false;  // of bfloat16, in this processor
#endif
#define ISA avx512
#define NAME "AVX-512"
#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")))
#define WIDTH 64
#include "loops.h"
#define ISA avx2
#define NAME "AVX2"
#define TARGET __attribute__((target("avx2,fma")))
#define WIDTH 32
#include "loops.h"
#endif
#define ISA plain
#if defined(__ARM_NEON)
#define NAME "NEON"
#elif defined(__x86_64__)
#define NAME "SSE2"
#else
#define NAME "scalar"
#endif
#define TARGET
#define WIDTH 16
#include "loops.h"

namespace {

const Isa* available[3];
int n_available = 0;
const Isa* chosen = nullptr;

void choose() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl"))
    available[n_available++] = &avx512::isa;
#if defined(HAS_DOT_PRODUCTS)
  has_dot_products = __builtin_cpu_supports("avx512bf16");
#endif
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) available[n_available++] = &avx2::isa;
#endif
  available[n_available++] = &plain::isa;
  chosen = available[0];
}

}  // namespace
