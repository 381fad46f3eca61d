// The part of DLPack's C interface (https://dmlc.github.io/dlpack/latest/c_api.html) that is read here: where a tensor
// lies, and of which type and shape it is. Field order and sizes are that specification's binary contract (1.x).
#pragma once
#include <cstdint>

namespace dlpack {

enum : int32_t { kCpu = 1 };
enum : uint8_t { kInt = 0, kUInt = 1, kFloat = 2, kBfloat = 4, kBool = 6 };

struct Device { int32_t type, id; };
struct Type { uint8_t code, bits; uint16_t lanes; };

struct Tensor {
  void* data;
  Device device;
  int32_t ndim;
  Type type;
  int64_t* shape;
  int64_t* strides;  // null: row-major
  uint64_t byte_offset;
};

// What a capsule named "dltensor" points to; the tensor is its first member.
struct Managed { Tensor tensor; void* manager; void (*deleter)(Managed*); };

struct Version { uint32_t major, minor; };

// The table behind `type(tensor).__dlpack_c_exchange_api__`, a capsule named "dlpack_exchange_api".
struct Exchange {
  Version version;
  Exchange* older;
  void* allocate;
  void* managed_from_object;
  void* managed_to_object;
  int (*tensor_from_object)(void* object, Tensor* out);  // borrows; may be null
  void* current_stream;
};
constexpr uint32_t kMajor = 1;

}  // namespace dlpack
