// Calls of a .pte that follows the stock text runner's contract, with a request to count.c around each.
//
//   calls MODEL.pte KERNELS.so CALL...        a CALL is TOKENS@POSITION, or TOKENS@POSITION+N: N calls, each one further
//
// KERNELS.so is the library of the llama:: operators. Label 1 is the load, label n + 2 the n-th CALL, counted from 0.
// Before what is counted, the same call (or the one before it) is made once, so that first-time work is not in the
// count: XNNPACK plans its memory when shapes change and keeps what was the largest.
// Output: a line for each CALL with a hash of its last logits' bytes, then the process's memory map.

#include <executorch/extension/module/module.h>
#include <executorch/extension/tensor/tensor.h>

#include <dlfcn.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

// The wheel has the library, and no header for it.
namespace executorch::extension::threadpool {
class ThreadPool {
 public:
  bool _unsafe_reset_threadpool(uint32_t threads);
};
ThreadPool* get_threadpool();
}  // namespace executorch::extension::threadpool

using executorch::extension::make_tensor_ptr;
using executorch::extension::Module;

namespace {

constexpr long kAsk = 7777;
constexpr long kForget = 0;
constexpr long kLoad = 1;

void ask(long label) { syscall(kAsk, label); }

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "%s\n", what.c_str());
  std::exit(1);
}

struct Call {
  long tokens, position, steps;
};

Call parse(const std::string& text) {
  Call call{0, 0, 0};
  const int found = std::sscanf(text.c_str(), "%ld@%ld+%ld", &call.tokens, &call.position, &call.steps);
  if (found < 2 || call.tokens < 1) fail("a call is TOKENS@POSITION or TOKENS@POSITION+N, not " + text);
  return call;
}

// Calls, asks for `label` (or nothing where it is negative) and returns the hash of the logits.
uint64_t forward(Module& module, long count, long position, long label) {
  std::vector<int64_t> tokens(count);
  for (long n = 0; n < count; n++) tokens[n] = (37 * n + 11 * position + 5) % 1900;
  std::vector<int64_t> start{position};
  auto a = make_tensor_ptr({1, static_cast<int>(count)}, std::move(tokens));
  auto b = make_tensor_ptr({1}, std::move(start));
  auto results = module.forward({*a, *b});
  if (label < 0) return 0;
  ask(label);
  if (!results.ok()) fail("forward: error " + std::to_string(static_cast<int>(results.error())));
  const auto logits = results->at(0).toTensor();
  uint64_t hash = 14695981039346656037u;  // FNV-1a
  const auto* bytes = static_cast<const uint8_t*>(logits.const_data_ptr());
  for (size_t n = 0; n < logits.nbytes(); n++) hash = (hash ^ bytes[n]) * 1099511628211u;
  return hash;
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 4) fail("usage: calls MODEL.pte KERNELS.so CALL...");
  if (dlopen(arguments[2], RTLD_LAZY | RTLD_GLOBAL) == nullptr) fail(dlerror());
  executorch::extension::threadpool::get_threadpool()->_unsafe_reset_threadpool(1);
  Module module(arguments[1], Module::LoadMode::Mmap);
  ask(kForget);
  const auto error = module.load_forward();
  ask(kLoad);
  if (error != executorch::runtime::Error::Ok) fail("load: error " + std::to_string(static_cast<int>(error)));
  for (int n = 3; n < count; n++) {
    const Call call = parse(arguments[n]);
    forward(module, call.tokens, call.steps ? call.position - 1 : call.position, -1);
    ask(kForget);
    const long last = call.position + (call.steps ? call.steps : 1) - 1;
    for (long position = call.position; position < last; position++) forward(module, call.tokens, position, -1);
    const uint64_t hash = forward(module, call.tokens, last, n - 1);
    std::printf("%s %016llx\n", arguments[n], static_cast<unsigned long long>(hash));
  }
  std::printf("maps\n");
  std::ifstream maps("/proc/self/maps");
  std::cout << maps.rdbuf();
}
