// The native runner over an Android library of ExecuTorch, on glibc (android_library.py): the same script and results as
// mlp_export/native/runner.cpp. That library's C++ library is not this process's, so only entry points without types of `std` are
// called: loaders, Program and Method instead of Module.
//
//   android_runner --logits FILE --mode file|mmap|mlock-ignore-errors [--threads N] < SCRIPT
#include <executorch/extension/data_loader/file_data_loader.h>
#include <executorch/extension/data_loader/mmap_data_loader.h>
#include <executorch/runtime/executor/method.h>
#include <executorch/runtime/executor/program.h>
#include <executorch/runtime/platform/runtime.h>

#include "harness.h"

namespace executorch::extension::threadpool {
class ThreadPool {
 public:
  bool _unsafe_reset_threadpool(std::uint32_t threads);
};
ThreadPool* get_threadpool();
}  // namespace executorch::extension::threadpool

// Android code for arm64 keeps its stack guard at thread pointer + 40, where glibc has the program's own thread-local data: this.
thread_local volatile long stack_guard_place[16] = {1};

namespace {

namespace runtime = executorch::runtime;
using executorch::aten::ScalarType;
using executorch::aten::Tensor;
using executorch::aten::TensorImpl;
using executorch::extension::FileDataLoader;
using executorch::extension::MmapDataLoader;
using harness::fail;

constexpr size_t kScratch = 16 << 20;  // for a small model's tables

void check(runtime::Error error, harness::Exit code, const char* what) {
  if (error != runtime::Error::Ok) fail(code, what + (": " + harness::error_number(static_cast<unsigned>(error))));
}

template <typename T>
std::unique_ptr<T> kept(runtime::Result<T> result, const char* what) {
  check(result.error(), harness::kLoad, what);
  return std::make_unique<T>(std::move(result.get()));
}

std::unique_ptr<runtime::DataLoader> open(const std::string& path, const std::string& mode) {
  if (mode == "file") return kept(FileDataLoader::from(path.c_str()), "open");
  const auto locking = mode == "mmap" ? MmapDataLoader::MlockConfig::NoMlock : MmapDataLoader::MlockConfig::UseMlockIgnoreErrors;
  return kept(MmapDataLoader::from(path.c_str(), locking), "open");
}

class Program {
 public:
  Program(const std::string& path, const std::string& mode)
      : loader_(open(path, mode)), program_(kept(runtime::Program::load(loader_.get()), "load")) {
    const auto meta = program_->method_meta("forward");
    check(meta.error(), harness::kLoad, "forward's description");
    for (size_t i = 0; i < meta->num_memory_planned_buffers(); i++)
      buffers_.emplace_back(static_cast<size_t>(meta->memory_planned_buffer_size(i).get()));
    for (auto& buffer : buffers_) spans_.emplace_back(buffer.data(), buffer.size());
    planned_ = std::make_unique<runtime::HierarchicalAllocator>(
        runtime::Span<runtime::Span<std::uint8_t>>(spans_.data(), spans_.size()));
    manager_ = std::make_unique<runtime::MemoryManager>(&tables_, planned_.get(), &temporary_);
    method_ = kept(program_->load_method("forward", manager_.get()), "load forward");
  }

  template <typename Emit>
  void forward(std::vector<std::int64_t>& tokens, std::int64_t position, Emit emit) {
    std::int32_t sizes[] = {1, static_cast<std::int32_t>(tokens.size())}, strides[] = {sizes[1], 1}, one[] = {1};
    std::uint8_t order[] = {0, 1};
    TensorImpl ids(ScalarType::Long, 2, sizes, tokens.data(), order, strides);
    TensorImpl at(ScalarType::Long, 1, one, &position, order, one);
    // Inputs live in planned memory that a call overwrites: they are set before each.
    check(method_->set_input(runtime::EValue(Tensor(&ids)), 0), harness::kCall, "tokens");
    check(method_->set_input(runtime::EValue(Tensor(&at)), 1), harness::kCall, "input_pos");
    check(method_->execute(), harness::kCall, "forward");
    const auto logits = method_->get_output(0).toTensor();
    emit(logits.const_data_ptr<float>(), static_cast<size_t>(logits.numel()));
  }

 private:
  std::unique_ptr<runtime::DataLoader> loader_;
  std::unique_ptr<runtime::Program> program_;
  std::vector<std::vector<std::uint8_t>> buffers_;
  std::vector<runtime::Span<std::uint8_t>> spans_;
  std::vector<std::uint8_t> tables_memory_ = std::vector<std::uint8_t>(kScratch);
  std::vector<std::uint8_t> temporary_memory_ = std::vector<std::uint8_t>(kScratch);
  runtime::MemoryAllocator tables_{kScratch, tables_memory_.data()}, temporary_{kScratch, temporary_memory_.data()};
  std::unique_ptr<runtime::HierarchicalAllocator> planned_;
  std::unique_ptr<runtime::MemoryManager> manager_;
  std::unique_ptr<runtime::Method> method_;
};

}  // namespace

int main(int count, char** arguments) {
  stack_guard_place[15] = count;
  std::string path, mode = "mmap";
  for (int i = 1; i + 1 < count; i += 2) {
    const std::string name = arguments[i];
    if (name == "--logits") path = arguments[i + 1];
    else if (name == "--mode") mode = arguments[i + 1];
    else if (name != "--threads") fail(harness::kUsage, "unknown option " + name);
    else executorch::extension::threadpool::get_threadpool()->_unsafe_reset_threadpool(std::atoi(arguments[i + 1]));
  }
  std::FILE* logits = std::fopen(path.c_str(), "wb");
  if (!logits) fail(harness::kOutput, path + " cannot be written");
  runtime::runtime_init();
  harness::run_script<Program>([&](const std::string& model) { return std::make_unique<Program>(model, mode); }, logits);
  std::_Exit(harness::kDone);  // not through the library's destructors: they are bionic's business
}
