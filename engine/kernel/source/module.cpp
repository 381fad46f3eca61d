// `_statistics`: one pass over each of many tensors, rows of numbers into one buffer. Tensors are found through DLPack,
// so neither PyTorch's nor NumPy's binary interface is touched; of Python only the stable one is, from 3.11 on.
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030b0000
#include <Python.h>

#include <atomic>

#include "dlpack.h"
#include "jobs.h"
#include "pool.h"

namespace {

PyObject *s_exchange, *s_dlpack, *s_detach, *s_grad;

// The C function by which tensors of a type describe themselves, or null. Types are few and live long.
int (*exchange_of(PyTypeObject* type))(void*, dlpack::Tensor*) {
  struct Known { PyTypeObject* type; int (*function)(void*, dlpack::Tensor*); };
  static std::vector<Known> known;
  for (const Known& k : known)
    if (k.type == type) return k.function;
  int (*function)(void*, dlpack::Tensor*) = nullptr;
  if (PyObject* capsule = PyObject_GetAttr(reinterpret_cast<PyObject*>(type), s_exchange)) {
    auto* table = static_cast<dlpack::Exchange*>(PyCapsule_GetPointer(capsule, "dlpack_exchange_api"));
    while (table != nullptr && table->version.major > dlpack::kMajor) table = table->older;
    if (table != nullptr && table->version.major == dlpack::kMajor) function = table->tensor_from_object;
    Py_DECREF(capsule);
  }
  PyErr_Clear();
  Py_INCREF(reinterpret_cast<PyObject*>(type));
  known.push_back({type, function});
  return function;
}

// Describes a tensor for as long as it and `*keep` live.
bool describe_object(PyObject* object, dlpack::Tensor& t, PyObject** keep) {
  if (auto* function = exchange_of(Py_TYPE(object))) {
    if (function(object, &t) == 0) return true;
    PyErr_Clear();
    return false;
  }
  PyObject* plain = PyObject_HasAttr(object, s_detach) ? PyObject_CallMethodObjArgs(object, s_detach, nullptr) : Py_NewRef(object);
  PyObject* capsule = plain ? PyObject_CallMethodObjArgs(plain, s_dlpack, nullptr) : nullptr;
  Py_XDECREF(plain);
  auto* managed = capsule ? static_cast<dlpack::Managed*>(PyCapsule_GetPointer(capsule, "dltensor")) : nullptr;
  if (managed == nullptr) {
    PyErr_Clear();
    Py_XDECREF(capsule);
    return false;
  }
  t = managed->tensor;
  *keep = capsule;  // not consumed: its own destructor frees what it stands for
  return true;
}

PyObject* item(PyObject* sequence, Py_ssize_t i) {
  return PyList_Check(sequence) ? PyList_GetItem(sequence, i) : PyTuple_GetItem(sequence, i);
}
Py_ssize_t length(PyObject* sequence) {
  if (PyList_Check(sequence)) return PyList_Size(sequence);
  if (PyTuple_Check(sequence)) return PyTuple_Size(sequence);
  PyErr_SetString(PyExc_TypeError, "tensors must come in a list or a tuple");
  return -1;
}

struct Held {  // references that end with the call
  std::vector<PyObject*> objects;
  Py_buffer buffer{};
  ~Held() {
    for (PyObject* o : objects) Py_XDECREF(o);
    if (buffer.obj) PyBuffer_Release(&buffer);
  }
};

struct Request { PyObject *tensors, *before; double* rows; Layout layout; Saturation saturation; int threads; };

PyObject* measured(const Request& q, Py_ssize_t n, Held& held) {
  Batch batch;
  batch.jobs.resize(n);
  int64_t bytes = 0;
  for (Py_ssize_t i = 0; i < n; i++) {
    Job& job = batch.jobs[i];
    dlpack::Tensor t;
    PyObject *object = Py_NewRef(item(q.tensors, i)), *keep = nullptr;
    held.objects.push_back(object);
    job.readable = describe_object(object, t, &keep) && describe(t, job.view);
    held.objects.push_back(keep);
    if (!job.readable) continue;
    lay_out(t, q.layout, job);
    PyObject* old = q.before ? item(q.before, i) : Py_None;
    if (old != Py_None && job.samples.rows == 0) {
      held.objects.push_back(Py_NewRef(old));
      keep = nullptr;
      job.compares = describe_object(old, t, &keep) && describe(t, job.before) && job.before.n == job.view.n &&
                     job.before.wide() == job.view.wide();
      held.objects.push_back(keep);
    }
    job.saturation = q.saturation;
    plan(job);
    bytes += job.view.n * job.view.size;
  }
  for (Py_ssize_t i = 0; i < n; i++)
    for (int64_t k = 0; k < batch.jobs[i].pieces; k++) batch.pieces.emplace_back(int(i), k);
  PyThreadState* state = bytes >= kUnlocked ? PyEval_SaveThread() : nullptr;
  Pool::share(int64_t(batch.pieces.size()), bytes >= kShared ? q.threads : 1, Batch::piece, &batch);
  for (Py_ssize_t i = 0; i < n; i++) tell(batch.jobs[i], q.rows + i * FIELDS);
  if (state) PyEval_RestoreThread(state);
  PyObject* unread = PyList_New(0);
  for (Py_ssize_t i = 0; unread && i < n; i++) {
    if (batch.jobs[i].readable) continue;
    PyObject* number = PyLong_FromSsize_t(i);
    if (!number || PyList_Append(unread, number) != 0) Py_CLEAR(unread);
    Py_XDECREF(number);
  }
  return unread;
}

PyObject* measure(PyObject*, PyObject* const* args, Py_ssize_t count) {
  if (count != 8) {
    PyErr_SetString(PyExc_TypeError, "measure(tensors, out, at, layout, low, high, threads, before) takes all 8");
    return nullptr;
  }
  Held held;
  Request q{};
  q.tensors = args[0];
  q.before = args[7] == Py_None ? nullptr : args[7];
  const Py_ssize_t n = length(q.tensors), at = PyLong_AsSsize_t(args[2]);
  if (n < 0 || (q.before && length(q.before) != n)) {
    if (!PyErr_Occurred()) PyErr_SetString(PyExc_ValueError, "`before` must be as long as `tensors`");
    return nullptr;
  }
  q.layout = Layout(PyLong_AsLong(args[3]));
  if (args[4] == Py_None) {
    q.saturation.mode = Saturation::kWithinOne;
  } else {
    q.saturation = {Saturation::kAlways, PyFloat_AsDouble(args[4]), PyFloat_AsDouble(args[5])};
  }
  q.threads = int(PyLong_AsLong(args[6]));
  if (PyErr_Occurred() || PyObject_GetBuffer(args[1], &held.buffer, PyBUF_WRITABLE | PyBUF_C_CONTIGUOUS) != 0) return nullptr;
  if (at < 0 || (at + n) * Py_ssize_t(FIELDS * sizeof(double)) > held.buffer.len) {
    PyErr_SetString(PyExc_ValueError, "out: not enough rows of 8-byte floats for these tensors");
    return nullptr;
  }
  q.rows = static_cast<double*>(held.buffer.buf) + at * FIELDS;
  try {
    return measured(q, n, held);
  } catch (const std::bad_alloc&) {
    return PyErr_NoMemory();
  }
}

// The same of the gradients that parameters have; of one that has none COUNT is -1. Returns the norm over all.
PyObject* gradients(PyObject*, PyObject* const* args, Py_ssize_t count) {
  if (count != 4) {
    PyErr_SetString(PyExc_TypeError, "gradients(parameters, out, at, threads) takes all 4");
    return nullptr;
  }
  Held held;
  Request q{};
  const Py_ssize_t n = length(args[0]), at = PyLong_AsSsize_t(args[2]);
  q.threads = int(PyLong_AsLong(args[3]));
  if (PyErr_Occurred() || PyObject_GetBuffer(args[1], &held.buffer, PyBUF_WRITABLE | PyBUF_C_CONTIGUOUS) != 0) return nullptr;
  if (at < 0 || (at + n) * Py_ssize_t(FIELDS * sizeof(double)) > held.buffer.len) {
    PyErr_SetString(PyExc_ValueError, "out: not enough rows of 8-byte floats for these tensors");
    return nullptr;
  }
  q.rows = static_cast<double*>(held.buffer.buf) + at * FIELDS;
  q.tensors = PyList_New(n);
  if (!q.tensors) return nullptr;
  held.objects.push_back(q.tensors);
  for (Py_ssize_t i = 0; i < n; i++) {
    PyObject* gradient = PyObject_GetAttr(item(args[0], i), s_grad);
    if (!gradient || PyList_SetItem(q.tensors, i, gradient) != 0) return nullptr;
  }
  try {
    PyObject* unread = measured(q, n, held);
    if (!unread) return nullptr;
    Py_DECREF(unread);
  } catch (const std::bad_alloc&) {
    return PyErr_NoMemory();
  }
  double square = 0;
  for (Py_ssize_t i = 0; i < n; i++) {
    double* row = q.rows + i * FIELDS;
    if (PyList_GetItem(q.tensors, i) == Py_None) row[COUNT] = -1;
    else if (row[COUNT] >= 0) square += row[L2] * row[L2];
  }
  return PyFloat_FromDouble(std::sqrt(square));
}

struct Scanning { View view; std::atomic<uint64_t> total{0}; };

PyObject* scan(PyObject*, PyObject* const* args, Py_ssize_t count) {
  dlpack::Tensor t;
  PyObject* keep = nullptr;
  Scanning work;
  const int threads = count == 2 ? int(PyLong_AsLong(args[1])) : 1;
  if (PyErr_Occurred()) return nullptr;
  if (count < 1 || !describe_object(args[0], t, &keep) || !describe(t, work.view) || !work.view.dense) {
    Py_XDECREF(keep);
    PyErr_SetString(PyExc_TypeError, "scan(tensor, threads=1): a tensor on the host that fills one stretch of memory");
    return nullptr;
  }
  const auto piece = [](void* context, int64_t i) {
    auto* w = static_cast<Scanning*>(context);
    const int64_t begin = i * kChunk, n = std::min(kChunk, w->view.n - begin);
    w->total += chosen->scan(w->view.data + begin * w->view.size, n * w->view.size);
  };
  PyThreadState* state = PyEval_SaveThread();
  Pool::share((work.view.n + kChunk - 1) / kChunk, threads, piece, &work);
  PyEval_RestoreThread(state);
  Py_XDECREF(keep);
  return PyLong_FromUnsignedLongLong(work.total);
}

PyObject* instructions(PyObject*, PyObject*) {
  PyObject* names = PyList_New(0);
  for (int i = 0; names && i < n_available; i++) {
    PyObject* name = PyUnicode_FromString(available[i]->name);
    if (!name || PyList_Append(names, name) != 0) Py_CLEAR(names);
    Py_XDECREF(name);
  }
  return names;
}

PyObject* use(PyObject*, PyObject* name) {
  for (int i = 0; i < n_available; i++)
    if (PyUnicode_CompareWithASCIIString(name, available[i]->name) == 0) {
      chosen = available[i];
      Py_RETURN_NONE;
    }
  PyErr_SetString(PyExc_ValueError, "not one of instructions()");
  return nullptr;
}

PyMethodDef methods[] = {
    {"measure", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(measure)), METH_FASTCALL,
     "measure(tensors, out, at, layout, low, high, threads, before) -> indices of tensors that cannot be read here"},
    {"gradients", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(gradients)), METH_FASTCALL,
     "gradients(parameters, out, at, threads) -> norm over all; rows as `measure` fills them, COUNT -1 where there is none"},
    {"scan", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(scan)), METH_FASTCALL,
     "scan(tensor, threads=1) -> a plain sum over its bytes; what reading them once costs, for benchmarks."},
    {"instructions", instructions, METH_NOARGS, "Instruction sets that this machine has, fastest first."},
    {"use", use, METH_O, "Use this instruction set from now on; for tests and benchmarks."},
    {nullptr, nullptr, 0, nullptr}};
PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_statistics", "One-pass statistics of tensors.", -1, methods,
                          nullptr, nullptr, nullptr, nullptr};

}  // namespace

PyMODINIT_FUNC PyInit__statistics() {
  choose();
  s_exchange = PyUnicode_InternFromString("__dlpack_c_exchange_api__");
  s_dlpack = PyUnicode_InternFromString("__dlpack__");
  s_detach = PyUnicode_InternFromString("detach");
  s_grad = PyUnicode_InternFromString("grad");
  PyObject* module = PyModule_Create(&definition);
  if (module) PyModule_AddIntConstant(module, "FIELDS", FIELDS);
  return module;
}
