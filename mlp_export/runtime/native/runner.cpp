// Runs a stock-contract `.pte` in a bare process, as a phone's app does, through the same class: executorch::extension::Module of the
// ExecuTorch wheel's C++ SDK. Options that the Python runtime does not have: how the file is read, and XNNPACK's weights cache, which
// the Android and Apple builds turn on and the desktop wheel does not.
//
//   runner --logits FILE [--ops LIBRARY]... [--mode MODE] [--weights-cache] [--packed-cache PATH] [--threads N] < SCRIPT
//
// --no-load-options leaves the settings of XNNPACK to the build, as classes do that do not know them.
// MODE is file, mmap (default), mlock, mlock-ignore-errors or madvise. The script, what is printed and the exit codes: harness.h.
#include <dlfcn.h>

#include <executorch/extension/module/module.h>
#include <executorch/extension/tensor/tensor.h>
#include <executorch/runtime/backend/backend_options_map.h>
#include <executorch/runtime/backend/options.h>

#include "harness.h"

// The wheel exports the thread pool but has no header for it.
namespace executorch::extension::threadpool {
class ThreadPool {
 public:
  bool _unsafe_reset_threadpool(std::uint32_t threads);
};
ThreadPool* get_threadpool();
}  // namespace executorch::extension::threadpool

namespace {

using executorch::aten::ScalarType;
using executorch::extension::make_tensor_ptr;
using executorch::extension::Module;
using executorch::runtime::BackendOptions;
using executorch::runtime::Error;
using executorch::runtime::LoadBackendOptionsMap;
using harness::fail;

constexpr char kXnnpack[] = "XnnpackBackend";

struct Options {
  std::string logits;
  std::vector<std::string> libraries;  // with kernels that register themselves
  Module::LoadMode mode = Module::LoadMode::Mmap;
  bool load_options = true;
  bool weights_cache = false;
  std::string packed_cache;
  long threads = 0;  // 0: the runtime's choice
};

Module::LoadMode mode_of(const std::string& name) {
  if (name == "file") return Module::LoadMode::File;
  if (name == "mmap") return Module::LoadMode::Mmap;
  if (name == "mlock") return Module::LoadMode::MmapUseMlock;
  if (name == "mlock-ignore-errors") return Module::LoadMode::MmapUseMlockIgnoreErrors;
  if (name == "madvise") return Module::LoadMode::MmapUseMadvise;
  fail(harness::kUsage, "unknown load mode " + name);
}

Options parse(int count, char** arguments) {
  Options options;
  for (int i = 1; i < count; i++) {
    const std::string name = arguments[i];
    if (name == "--weights-cache") {
      options.weights_cache = true;
      continue;
    }
    if (name == "--no-load-options") {
      options.load_options = false;
      continue;
    }
    if (i + 1 == count) fail(harness::kUsage, name + " wants a value");
    const std::string value = arguments[++i];
    if (name == "--logits") options.logits = value;
    else if (name == "--ops") options.libraries.push_back(value);
    else if (name == "--mode") options.mode = mode_of(value);
    else if (name == "--packed-cache") options.packed_cache = value;
    else if (name == "--threads") options.threads = std::atol(value.c_str());
    else fail(harness::kUsage, "unknown option " + name);
  }
  if (options.logits.empty()) fail(harness::kUsage, "--logits is missing");
  // The runtime copies the path into a buffer of that size and cuts off the rest.
  if (options.packed_cache.size() >= executorch::runtime::kMaxOptionValueLength)
    fail(harness::kUsage, "--packed-cache is longer than the runtime takes");
  return options;
}

class Program {
 public:
  Program(const std::string& path, const Options& options) : module_(path, options.mode) {
    // Per load and not global: only there does the runtime read the path. False, too, is said: another build's default may differ.
    BackendOptions<2> values;
    LoadBackendOptionsMap map;
    check(values.set_option("weight_cache_enabled", options.weights_cache), "weight_cache_enabled");
    if (!options.packed_cache.empty())
      check(values.set_option("packed_cache_path", options.packed_cache.c_str()), "packed_cache_path");
    check(map.set_options(kXnnpack, values.view()), "options of XNNPACK");
    check(options.load_options ? module_.load(map) : module_.load(), "load " + path);
    check(module_.load_forward(), "load forward of " + path);
  }

  template <typename Emit>
  void forward(std::vector<std::int64_t>& tokens, std::int64_t position, Emit emit) {
    std::vector<std::int64_t> start = {position};
    auto ids = make_tensor_ptr({1, static_cast<int>(tokens.size())}, tokens.data(), ScalarType::Long);
    auto at = make_tensor_ptr({1}, start.data(), ScalarType::Long);
    auto results = module_.forward({*ids, *at});
    if (!results.ok()) fail(harness::kCall, "forward: " + harness::error_number(static_cast<unsigned>(results.error())));
    const auto logits = results->at(0).toTensor();
    if (logits.scalar_type() != ScalarType::Float) fail(harness::kCall, "forward gives no float32");
    emit(logits.const_data_ptr<float>(), static_cast<size_t>(logits.numel()));
  }

 private:
  static void check(Error error, const std::string& what) {
    if (error != Error::Ok) fail(harness::kLoad, what + ": " + harness::error_number(static_cast<unsigned>(error)));
  }

  Module module_;
};

}  // namespace

int main(int count, char** arguments) {
  const Options options = parse(count, arguments);
  for (const auto& library : options.libraries)
    if (!dlopen(library.c_str(), RTLD_LAZY | RTLD_GLOBAL)) fail(harness::kLoad, dlerror());
  if (options.threads > 0)
    executorch::extension::threadpool::get_threadpool()->_unsafe_reset_threadpool(static_cast<std::uint32_t>(options.threads));
  std::FILE* logits = std::fopen(options.logits.c_str(), "wb");
  if (!logits) fail(harness::kOutput, options.logits + " cannot be written");
  harness::run_script<Program>(
      [&](const std::string& path) { return std::make_unique<Program>(path, options); }, logits);
  return harness::kDone;
}
