// Makes every XNNPACK delegate that this process loads keep its packed weights in a file, whoever loads it: for apps whose model is
// loaded by a class that cannot ask for it, as ExecuTorch's LlmModule (Android) and TextRunner (iOS) cannot. Call it before the model
// is loaded. Header only, C++17, ExecuTorch 1.5's headers; the one symbol it needs is executorch::runtime::get_backend_class.
// android_demo/app/src/main/cpp/packed_weights_jni.cpp is its JNI function.
//
// XNNPACK reads the path from a load's own options alone, and the classes above give none. So `init` of the registered backend is
// replaced by one that adds the two options. A backend cannot be registered twice and the registry is not reachable: the replacement
// is in the object's table of virtual functions (Itanium C++ ABI, as Android's and Apple's compilers have it), of which the object
// gets a copy. Written for the class as it is in ExecuTorch 1.5: check it against runtime/backend/interface.h on an update.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <mutex>
#include <vector>

#include <executorch/runtime/backend/interface.h>
#include <executorch/runtime/backend/options.h>

namespace mlp_export {
namespace detail {

namespace et = executorch::runtime;

// What the compiler makes of `BackendInterface::init`: `this` is its first argument.
using Init = et::Result<et::DelegateHandle*> (*)(
    const et::BackendInterface*, et::BackendInitContext&, et::FreeableBuffer*, et::ArrayRef<et::CompileSpec>);

// Before the functions stand two words (offset to the object's top, type information). The functions: two destructors, is_available,
// init, execute, set_option, get_option, destroy.
constexpr size_t kBefore = 2, kInit = 3, kFunctions = 8;

inline std::mutex mutex;
inline std::array<char, et::kMaxOptionValueLength> path;
inline Init original_init = nullptr;
inline void* table[kBefore + kFunctions];

inline et::Result<et::DelegateHandle*> init(
    const et::BackendInterface* backend, et::BackendInitContext& context, et::FreeableBuffer* processed,
    et::ArrayRef<et::CompileSpec> compile_specs) {
  // What a load asks for itself stays, and wins: the backend takes the first option of a name.
  std::vector<et::BackendOption> options(context.runtime_specs().begin(), context.runtime_specs().end());
  et::BackendOptions<2> added;
  (void)added.set_option("weight_cache_enabled", true);
  {
    std::lock_guard<std::mutex> guard(mutex);
    (void)added.set_option("packed_cache_path", path.data());
  }
  const auto view = added.view();
  options.insert(options.end(), view.begin(), view.end());
  et::BackendInitContext with_path(
      context.get_runtime_allocator(), context.event_tracer(), context.get_method_name(), context.get_named_data_map(),
      et::Span<const et::BackendOption>(options.data(), options.size()));
  return original_init(backend, with_path, processed, compile_specs);
}

}  // namespace detail

// Loads from now on keep packed weights in `file`: the first writes it, later ones map it. One file for each version of a model: what
// another model wrote is not taken, but nothing is added to it either. False where the path is too long (255 bytes), or this process
// has no XNNPACK backend.
inline bool use_packed_cache(const char* file) {
  using namespace detail;
  et::BackendInterface* backend = et::get_backend_class("XnnpackBackend");
  if (backend == nullptr || std::strlen(file) >= path.size()) return false;
  std::lock_guard<std::mutex> guard(mutex);
  path.fill('\0');
  std::copy_n(file, std::strlen(file), path.begin());
  if (original_init == nullptr) {
    void**& functions = *reinterpret_cast<void***>(backend);
    std::copy_n(functions - kBefore, kBefore + kFunctions, table);
    original_init = reinterpret_cast<Init>(table[kBefore + kInit]);
    table[kBefore + kInit] = reinterpret_cast<void*>(&init);
    functions = table + kBefore;
  }
  return true;
}

}  // namespace mlp_export
