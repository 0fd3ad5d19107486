// What every runner of a `.pte` in this project shares: the script of calls, the JSON lines that tell what happened, and the memory
// of this process. It knows no runtime: a runner includes its runtime's headers, defines `Program` and calls `run_script`.
//
// The script, a command a line:
//   load PATH                  load a program; the calls that follow are for it
//   call POSITION TOKEN...     forward(tokens [1, S] int64, input_pos [1] int64); its logits are appended to the output as float32
//   use N                      the calls that follow are for the N-th loaded program (0 is the first)
//   unload                     let go of the current program
//   memory                     report this process's memory
// On stdout, a JSON object a line as each command ends, so that a crash tells how far the script came:
//   {"event": "load", "seconds": s}   {"event": "call", "seconds": s, "values": n}   {"event": "unload"}
//   {"event": "memory", "resident_bytes": n, "anonymous_bytes": n, "file_bytes": n, "peak_bytes": n}
// Exit codes: 0 all done, 2 wrong arguments or script, 3 a program cannot be loaded, 4 a call failed, 5 output cannot be written.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

namespace harness {

enum Exit { kDone = 0, kUsage = 2, kLoad = 3, kCall = 4, kOutput = 5 };

[[noreturn]] inline void fail(Exit code, const std::string& what) {
  std::fflush(stdout);
  std::fprintf(stderr, "runner: %s\n", what.c_str());
  std::_Exit(code);
}

inline std::string error_number(unsigned error) {
  char text[32];
  std::snprintf(text, sizeof text, "error 0x%x", error);
  return text;
}

inline double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// A field of a /proc file that has lines "Name:   123 kB", in bytes; 0 where it is missing.
inline long long proc_field(const char* file, const char* name) {
  std::ifstream lines(file);
  std::string line;
  while (std::getline(lines, line)) {
    if (line.rfind(name, 0) == 0) return std::strtoll(line.c_str() + std::strlen(name), nullptr, 10) * 1024;
  }
  return 0;
}

inline void report_memory() {
  // The rollup walks the page tables; the counters in /proc/self/status may lag behind by some pages a thread.
  const long long resident = proc_field("/proc/self/smaps_rollup", "Rss:");
  const long long anonymous = proc_field("/proc/self/smaps_rollup", "Anonymous:");
  std::printf(
      "{\"event\": \"memory\", \"resident_bytes\": %lld, \"anonymous_bytes\": %lld, \"file_bytes\": %lld, \"peak_bytes\": %lld}\n",
      resident, anonymous, resident - anonymous, proc_field("/proc/self/status", "VmHWM:"));
}

// Runs the script on stdin. `load(path)` returns a std::unique_ptr<Program>; `program->forward(tokens, position, emit)` calls
// emit(const float*, size_t) with the logits. Both call `fail` where they cannot.
template <typename Program, typename Load>
void run_script(Load load, std::FILE* logits) {
  std::vector<std::unique_ptr<Program>> programs;
  size_t current = 0;
  std::string line;
  while (std::getline(std::cin, line)) {
    std::istringstream words(line);
    std::string command;
    if (!(words >> command)) continue;
    const double start = now();
    if (command == "load") {
      std::string path;
      std::getline(words >> std::ws, path);
      programs.push_back(load(path));
      current = programs.size() - 1;
      std::printf("{\"event\": \"load\", \"seconds\": %.6f}\n", now() - start);
    } else if (command == "use") {
      if (!(words >> current) || current >= programs.size()) fail(kUsage, "no such program: " + line);
    } else if (command == "memory") {
      report_memory();
    } else if (command == "unload" || command == "call") {
      if (programs.empty() || !programs[current]) fail(kUsage, "no program is loaded for: " + line);
      if (command == "unload") {
        programs[current].reset();
        std::printf("{\"event\": \"unload\"}\n");
      } else {
        std::int64_t position = 0, token = 0;
        std::vector<std::int64_t> tokens;
        if (!(words >> position)) fail(kUsage, "no position in: " + line);
        while (words >> token) tokens.push_back(token);
        if (tokens.empty()) fail(kUsage, "no tokens in: " + line);
        size_t values = 0;
        double seconds = 0;
        programs[current]->forward(tokens, position, [&](const float* data, size_t count) {
          seconds = now() - start;
          values = count;
          if (std::fwrite(data, sizeof(float), count, logits) != count) fail(kOutput, "the logits cannot be written");
        });
        std::printf("{\"event\": \"call\", \"seconds\": %.6f, \"values\": %zu}\n", seconds, values);
      }
    } else {
      fail(kUsage, "unknown command: " + line);
    }
    std::fflush(stdout);
  }
  if (std::fclose(logits)) fail(kOutput, "the logits cannot be written");
}

}  // namespace harness
